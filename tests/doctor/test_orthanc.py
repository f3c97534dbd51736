"""The group *Orthanc*: an Orthanc as it is installed, and one that runs."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from orthanc_gcp.configuration import read
from orthanc_gcp.doctor import check_orthanc
from orthanc_gcp.doctor.findings import Finding, Result
from orthanc_gcp.doctor.orthanc import Site
from orthanc_gcp.orthanc.installation import Service
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.plugin import script
from orthanc_gcp.users import user_name
from tests.support.keys import user_account
from tests.support.orthanc import DICOMWEB, EXECUTABLE, PLUGINS, free_port

AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


@pytest.fixture
def whole(tmp_path) -> dict:
    """Options with which all is right."""
    file = tmp_path / "gcp_plugin.py"
    file.write_text(script.text())
    return {
        "Plugins": [str(PLUGINS)],
        "PythonScript": str(file),
        "HttpsCACertificates": AUTHORITIES,
        "HttpPort": free_port(),
        "DicomPort": free_port(),
    }


def lines(folder: Path, options: dict, **site) -> dict[str, Finding]:
    service = Service(user_name(), "orthanc.service", executable=Path(EXECUTABLE))
    made = Site(folder, read(options, folder), **{"service": service, **site})
    return {finding.check: finding for finding in check_orthanc(made)}


def test_all_is_right_before_orthanc_starts(tmp_path, whole):
    found = lines(tmp_path, whole)
    results = {name: one.result for name, one in found.items()}
    assert results == {
        **dict.fromkeys(
            [
                *("user", "options", "DICOMweb plugin", "Python plugin", "script"),
                *("HTTPS authorities", "ports"),
            ],
            Result.PASSED,
        ),
        "REST API": Result.SKIPPED,
        "connector": Result.SKIPPED,
    }
    assert found["user"].cause == f"{user_name()} (orthanc.service)"
    assert str(DICOMWEB) in found["DICOMweb plugin"].cause
    assert "embeds Python 3." in found["Python plugin"].cause


def test_who_runs_it_is_not_known(tmp_path, whole):
    line = lines(tmp_path, whole, service=None)["user"]
    assert line.result is (Result.WARNING if os.geteuid() == 0 else Result.PASSED)
    assert "no process and no service" in line.cause
    other = lines(tmp_path, whole, service=Service("somebody", "process 7"))
    assert other["user"].result is Result.UNKNOWN
    assert "Orthanc runs as somebody (process 7), this command as" in other["user"].cause
    assert other["ports"].result is Result.SKIPPED


def test_options_that_no_other_line_names(tmp_path, whole):
    line = lines(tmp_path, {**whole, "HttpPort": "8042"})["options"]
    assert line.result is Result.FAILED
    assert "HttpPort: found '8042'" in line.cause
    section = {"Send": [{"To": "none"}], "Accounts": {"a": {}}}
    assert lines(tmp_path, {**whole, "GoogleCloudPlatform": section})["options"].result is (
        Result.PASSED
    )


# -- Plugins and script ---------------------------------------------------------------------------


def test_plugins_that_are_not_loaded(tmp_path, whole):
    found = lines(tmp_path, {**whole, "Plugins": []})
    assert found["DICOMweb plugin"].cause.startswith("Plugins (empty) has no DICOMweb plugin")
    assert "apt-get install orthanc-dicomweb" in found["DICOMweb plugin"].remedy
    assert "apt-get install orthanc-python" in found["Python plugin"].remedy
    own = tmp_path / "libOrthancPython.so"
    own.write_text("no library")
    found = lines(tmp_path, {**whole, "Plugins": [str(own), str(DICOMWEB)]})
    assert found["Python plugin"].result is Result.UNKNOWN
    disabled = lines(tmp_path, {**whole, "DicomWeb": {"Enable": False}})["DICOMweb plugin"]
    assert "does nothing: DicomWeb.Enable is false" in disabled.cause


def test_the_sidecar_needs_no_script(tmp_path, whole):
    found = lines(tmp_path, {**whole, "Plugins": [str(DICOMWEB)]}, sidecar=True)
    for name in ("Python plugin", "script", "connector"):
        assert found[name].cause == "the sidecar serves this Orthanc"


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda text: "import orthanc\n", "does not load the connector"),
        (
            lambda text: text.replace("PYTHONS = [(3,", "PYTHONS = [(2,"),
            "is installed for Python 2.",
        ),
    ],
)
def test_a_script_that_does_not_fit(tmp_path, whole, change, cause):
    file = Path(whole["PythonScript"])
    file.write_text(change(file.read_text()))
    line = lines(tmp_path, whole)["script"]
    assert line.result is Result.FAILED
    assert cause in line.cause


def test_a_script_whose_package_is_gone(tmp_path, whole):
    file = Path(whole["PythonScript"])
    text = file.read_text()
    begin = text.index("PACKAGES = ")
    file.write_text(text[:begin] + "PACKAGES = ['/none']\n" + text[text.index("\n", begin) :])
    line = lines(tmp_path, whole)["script"]
    assert "loads the package from /none, where there is none that" in line.cause


# -- Authorities and ports ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "result", "cause"),
    [
        ({"HttpsCACertificates": ""}, None, ""),  # what is right depends on Orthanc's version
        ({"HttpsCACertificates": "none.pem"}, Result.FAILED, "cannot be used: No such file"),
        ({"HttpsCACertificates": "/etc/ssl"}, Result.FAILED, "cannot be used: it is a folder"),
        ({"HttpsVerifyPeers": False}, Result.WARNING, "anybody on the way can read"),
        (
            {"GoogleCloudPlatform": {"BaseUrl": "http://127.0.0.1/v1"}},
            Result.SKIPPED,
            "BaseUrl is not https://",
        ),
    ],
)
def test_the_authorities(tmp_path, whole, options, result, cause):
    line = lines(tmp_path, {**whole, **options})["HTTPS authorities"]
    if result is None:
        assert line.result in (Result.FAILED, Result.PASSED)
    else:
        assert (line.result, cause in line.cause) == (result, True)


def test_an_orthanc_that_takes_no_authorities_by_itself(tmp_path, whole):
    """One that prints no version is taken for an old one."""
    service = Service(user_name(), "orthanc.service", executable=Path("/bin/false"))
    line = lines(tmp_path, {**whole, "HttpsCACertificates": ""}, service=service)
    assert line["HTTPS authorities"].cause.startswith("HttpsCACertificates is empty or missing")


def test_a_port_that_another_program_has(tmp_path, whole):
    with socket.create_server(("127.0.0.1", whole["DicomPort"])):
        line = lines(tmp_path, whole)["ports"]
        assert line.result is Result.FAILED
        assert f"listens at port {whole['DicomPort']} (DicomPort)" in line.cause
        off = lines(tmp_path, {**whole, "DicomServerEnabled": False})["ports"]
        assert off.cause == f"nobody listens at {whole['HttpPort']}"
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        account = {"Accounts": {"a": user_account("http://127.0.0.1:1")}}
        gateway = {"Port": port, "Aets": {"A": "a"}}
        line = lines(tmp_path, {**whole, "GoogleCloudPlatform": {**account, "Gateway": gateway}})
        assert line["ports"].result is Result.FAILED
        assert f"port {port} (Gateway.Port), so that the gateway cannot" in line["ports"].cause
        gateway["StartWithOrthanc"] = False  # it may be that gateway which listens there
        line = lines(tmp_path, {**whole, "GoogleCloudPlatform": {**account, "Gateway": gateway}})
        assert line["ports"].result is Result.PASSED


# -- While it runs --------------------------------------------------------------------------------


def test_an_orthanc_that_runs(tmp_path, whole, orthanc, token_server):
    section = {"Accounts": {"a": user_account(token_server.url)}}
    running = orthanc({"GoogleCloudPlatform": section})
    running.wait_for_servers("a")
    service = Service(user_name(), "process 1", pid=1, executable=Path(EXECUTABLE))

    def of(section: dict) -> dict[str, Finding]:
        options = {**whole, "GoogleCloudPlatform": section}
        return lines(tmp_path, options, service=service, rest=OrthancRest(running.url))

    found = of(section)
    assert found["ports"].cause == "Orthanc runs"
    assert found["REST API"].cause.startswith(f"{running.url} is Orthanc 1.")
    assert found["connector"].cause == "it runs in Orthanc, with a"
    later = of({"Accounts": {**section["Accounts"], "b": user_account(token_server.url)}})
    assert later["connector"].cause == "the Orthanc that runs does not know of b yet"


def test_an_orthanc_without_plugins(tmp_path, whole, orthanc):
    bare = orthanc({}, plugins=())
    found = lines(tmp_path, whole, rest=OrthancRest(bare.url))
    assert "has not loaded the DICOMweb plugin" in found["REST API"].cause
    assert "has not loaded the connector" in found["connector"].cause


def test_nobody_answers(tmp_path, whole):
    rest = OrthancRest(f"http://127.0.0.1:{free_port()}")
    found = lines(tmp_path, whole, rest=rest)
    assert found["REST API"].result is Result.FAILED
    assert found["REST API"].remedy == "see Orthanc's log"
