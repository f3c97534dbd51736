"""google-cloud-storage over the folder of buckets, and what it uploads in a store and back."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from compat.clients.environments import run_client_command, run_program
from orthanc_gcp.emulator.server import DEFAULT_STORE, Emulator, Options
from tests.emulator.client import make_dicom
from tests.emulator.guide import blocks
from tests.emulator.healthcare.buckets import object_of


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    (tmp_path / "buckets" / "scans").mkdir(parents=True)
    options = Options(
        tmp_path / "data",
        write_credentials=tmp_path / "credentials",
        buckets=tmp_path / "buckets",
    )
    with Emulator(options) as running:
        yield running


def operation(emulator: Emulator, method: str, body: Any) -> dict[str, Any]:
    """Begin an import or export, and wait for its end."""
    headers = {"Authorization": f"Bearer {emulator.access_token()}"}
    url = f"{emulator.url}/v1/{DEFAULT_STORE}:{method}"
    begun = requests.post(url, json=body, headers=headers, timeout=60)
    assert begun.status_code == 200, begun.text
    for _ in range(600):
        found = requests.get(
            f"{emulator.url}/v1/{begun.json()['name']}", headers=headers, timeout=60
        ).json()
        if found.get("done"):
            return dict(found)
        time.sleep(0.05)
    raise AssertionError(found)


def prepare(folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    files = {str(folder / f"{number}.dcm"): make_dicom() for number in range(5)}
    for name, content in files.items():
        Path(name).write_bytes(content)
    return files


@pytest.mark.parametrize("is_anonymous", [True, False])
def test_google_cloud_storage(emulator: Emulator, tmp_path: Path, is_anonymous: bool) -> None:
    files = prepare(tmp_path / "files")
    credentials = tmp_path / "credentials" / "service-account.json"
    wanted = {
        "credentials": None if is_anonymous else str(credentials),
        "bucket": "scans",
        "files": list(files),
    }
    variables = {"STORAGE_EMULATOR_HOST": emulator.url}
    uploaded = run_program("cloud_storage.py", wanted, tmp_path, variables)
    assert uploaded == [f"in/{number}.dcm" for number in range(5)]

    done = operation(emulator, "import", {"gcsSource": {"uri": "gs://scans/in/*.dcm"}})
    assert done["metadata"]["counter"] == {"success": "5"}
    shutil.rmtree(tmp_path / "buckets" / "scans" / "in")
    body = {"gcsDestination": {"uriPrefix": "gs://scans/out"}}
    assert operation(emulator, "export", body)["metadata"]["counter"] == {"success": "5"}
    listed = requests.get(f"{emulator.url}/storage/v1/b/scans/o", timeout=60).json()["items"]
    assert {item["name"] for item in listed} == {f"out/{object_of(c)}" for c in files.values()}


def test_the_example_of_the_guide(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = (code for code in blocks("python") if "google.cloud" in code)
    (tmp_path / "image.dcm").write_bytes(make_dicom())
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator.url)
    assert run_client_command(tmp_path, "python", "-c", code) == "['in/image.dcm']\n"
