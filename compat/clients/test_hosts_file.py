"""Clients that know Google's own addresses only, and a hosts file that leads them elsewhere."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import generate_uid

from compat.clients.environments import run_program
from tests.emulator.client import STORE, make_dicom, path_of, read, sample
from tests.emulator.processes import running

HOSTS = (
    "healthcare.googleapis.com",
    "iamcredentials.googleapis.com",
    "oauth2.googleapis.com",
    "sts.googleapis.com",
)
NAMESPACE = ("unshare", "--mount", "--net", "sh", "-c")
REDIRECTED = 'ip link set lo up; mount --bind "$0" /etc/hosts; exec "$@"'
EMPTY = 204
Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """The emulator's directory, with credential files and ca.pem."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@pytest.fixture(scope="module")
def run_redirected(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Runs a program where Google's names mean this machine; port 443 is taken there only."""
    hosts = folder / "hosts"
    hosts.write_text("".join(f"127.0.0.1 {name}\n" for name in ("localhost", *HOSTS)))
    names = [option for name in HOSTS for option in ("--tls-name", name)]
    here = (*NAMESPACE, REDIRECTED, str(hosts))
    with running(folder, *names, port=443, command=here) as process:
        enter = ("nsenter", "--target", str(process.popen.pid), "--mount", "--net")

        def run(name: str, credentials: str, **wanted: object) -> dict[str, Any]:
            authority = folder / "ca.pem"
            trusted = ("NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
            variables = dict.fromkeys(trusted, authority)
            variables["GOOGLE_APPLICATION_CREDENTIALS"] = folder / f"{credentials}.json"
            variables["GOOGLE_CLOUD_PROJECT"] = "osimis-test"
            store = {"dicomweb": f"https://healthcare.googleapis.com/v1/{STORE}/dicomWeb"}
            place = tmp_path_factory.mktemp("program")
            return run_program(name, {**store, **wanted}, place, variables, before=enter)

        yield run


@pytest.mark.parametrize("name", ["authorized-user", "service-account", "external-account-url"])
def test_python(run_redirected, name):
    assert run_redirected("default_credentials.py", name)["status"] == EMPTY


def test_a_service_account_in_node(run_redirected):
    """The library ignores the token endpoint that the file names."""
    facts = run_redirected("google_auth.mjs", "service-account")
    assert (facts["kind"], facts["status"]) == ("JWT", EMPTY)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("authorized-user", "UserRefreshClient"),
        ("impersonated-service-account", "Impersonated"),
    ],
)
def test_a_user_in_node(run_redirected, name, kind):
    facts = run_redirected("google_auth.mjs", name)
    assert (facts["kind"], facts["status"]) == (kind, EMPTY)


def test_an_impersonated_service_account_in_python(run_redirected):
    assert (
        run_redirected("default_credentials.py", "impersonated-service-account")["status"] == EMPTY
    )


def test_a_user_in_go(run_redirected, tmp_path):
    content = sample("CT_small.dcm")
    file = tmp_path / "image.dcm"
    file.write_bytes(content)
    instance = path_of(read(content)).removeprefix("/")
    wanted = {"parent": STORE, "file": str(file), "instance": instance}
    facts = run_redirected("healthcare_client.go", "authorized-user", **wanted)
    assert facts["same"] is True


def test_apache_beam(run_redirected):
    """It pages by two; the last page of searches that end with a full one is empty."""
    study = generate_uid()
    files = [make_dicom(StudyInstanceUID=study, PatientID="beam") for _ in range(4)]
    parts = STORE.split("/")
    facts = run_redirected(
        "beam_dicomio.py",
        "authorized-user",
        files=[base64.b64encode(file).decode() for file in files],
        store=dict(
            zip(("project_id", "region", "dataset_id", "dicom_store_id"), parts[1::2], strict=True)
        ),
        kinds=["studies", "instances"],
    )
    assert facts["stored"] == [{"status": 200, "success": True}] * 4
    found = {search["input"]["search_type"]: search["result"] for search in facts["found"]}
    assert [one["0020000D"]["Value"] for one in found["studies"]] == [[study]]
    expected = sorted(read(file).SOPInstanceUID for file in files)
    assert sorted(one["00080018"]["Value"][0] for one in found["instances"]) == expected
