"""Fixtures for pytest, as a conftest.py of anybody uses them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.emulator.guide import GUIDE, blocks, pytest_in

USES_OF_FIXTURES = """
import pytest
from google.auth.transport.requests import AuthorizedSession
from google.oauth2 import service_account

SEEN = set()
SCOPES = ["https://www.googleapis.com/auth/cloud-healthcare"]

@pytest.mark.parametrize("number", range(3))
def test_each_test_has_a_store(dicom_store, number):
    assert dicom_store.name not in SEEN
    SEEN.add(dicom_store.name)
    credentials = service_account.Credentials.from_service_account_file(
        str(dicom_store.credentials_file), scopes=SCOPES
    )
    with AuthorizedSession(credentials) as session:
        for name in SEEN:
            answer = session.get(dicom_store.emulator.dicomweb_url(name) + "/studies")
            assert answer.status_code == (204 if name == dicom_store.name else 403)

def test_broken(healthcare_emulator):
    healthcare_emulator.fault_settings.change(disabledApi=True, dateOffset=5)

def test_mended(healthcare_emulator):
    assert healthcare_emulator.fault_settings.as_json()["disabledApi"] is False
    assert healthcare_emulator.fault_settings.as_json()["dateOffset"] == 0

def test_a_reset_while_a_store_is_in_use(healthcare_emulator, dicom_store):
    healthcare_emulator.reset()
    session = AuthorizedSession(
        service_account.Credentials.from_service_account_file(
            str(dicom_store.credentials_file), scopes=SCOPES
        )
    )
    with session:
        assert session.get(dicom_store.dicomweb_url + "/studies").status_code == 403
        answer = session.get(healthcare_emulator.dicomweb_url() + "/studies")
        assert answer.status_code == 204

def test_files(healthcare_emulator, dicom_store):
    names = {path.name for path in healthcare_emulator.credentials.iterdir()}
    assert "authorized-user.json" in names
    assert dicom_store.credentials_file.name in names
    assert dicom_store.token() != dicom_store.token()
"""


def test_the_fixtures(tmp_path: Path) -> None:
    (conftest,) = (code for code in blocks("python") if code.startswith("# conftest.py"))
    report = pytest_in(tmp_path, conftest=conftest, test_uses=USES_OF_FIXTURES)
    assert re.search(r"=+ 7 passed in", report), report


def test_the_plugin_on_the_command_line(tmp_path: Path) -> None:
    assert "`pytest -p orthanc_gcp.emulator.pytest_plugin`" in GUIDE.read_text()
    (_, tests) = (code for code in blocks("python") if code.startswith("# "))
    report = pytest_in(tmp_path, "-p", "orthanc_gcp.emulator.pytest_plugin", test_store=tests)
    assert re.search(r"=+ 2 passed in", report), report


def test_a_missing_extra_is_named_to_pytest_too(tmp_path: Path) -> None:
    (conftest,) = (code for code in blocks("python") if code.startswith("# conftest.py"))
    missing = f"import sys; sys.modules['uvicorn'] = None\n{conftest}"
    report = pytest_in(tmp_path, conftest=missing)
    assert "The emulator needs uvicorn. Install it: pip install 'orthanc-gcp[emulator]'" in report


def test_the_fixtures_start_nothing_that_is_not_used(tmp_path: Path) -> None:
    tests = """
import threading
def test_nothing():
    assert threading.active_count() == 1
"""
    (conftest,) = (code for code in blocks("python") if code.startswith("# conftest.py"))
    report = pytest_in(tmp_path, conftest=conftest, test_nothing=tests)
    assert re.search(r"=+ 1 passed in", report), report


PLUGIN = ("-p", "no:cacheprovider", "-p", "no:timeout", "-p", "orthanc_gcp.emulator.pytest_plugin")
USES_A_STORE = """
import urllib.request

def test_nothing():
    pass

def test_a_store(dicom_store, healthcare_emulator):
    request = urllib.request.Request(dicom_store.dicomweb_url + "/studies")
    request.headers.update(dicom_store.headers)
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 204
    healthcare_emulator.fault_settings.change(disabledApi=True)

def test_faults_are_gone(healthcare_emulator):
    assert healthcare_emulator.fault_settings.current.disabled_api is False
"""


def test_the_fixtures_in_this_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "test_store.py").write_text(USES_A_STORE)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.chdir(tmp_path)
    base = str(tmp_path / "temporary")
    status = pytest.main([*PLUGIN, "-q", "--basetemp", base, "test_store.py"])
    assert status == 0, capsys.readouterr().out
