"""Relative names of files: plugin, worker and commands look where Orthanc looks for its own."""

from __future__ import annotations

import shutil
import time

from tests.debian.test_check import check, write_section
from tests.support.debian import ETC, DebianHost
from tests.support.site import make_instance

SEND = [{"To": "my-google"}]


def prepare(host: DebianHost) -> None:
    """An installation by the book, with a credential beside the configuration."""
    host.google.start()
    host.give_key()
    done = host.run("/opt/orthanc-gcp/bin/orthanc-gcp install --orthanc-config /etc/orthanc")
    assert done.returncode == 0, done.stdout + done.stderr
    host.path(f"{ETC}/google-cloud-platform.json").unlink()
    host.path(f"{ETC}/keys").mkdir()
    key = host.path(f"{ETC}/keys/dicom-osimis.json")
    shutil.copy(host.path("/etc/orthanc-gcp/dicom-osimis.json"), key)
    key.chmod(0o600)
    host.give(f"{ETC}/keys/dicom-osimis.json", "orthanc")
    write_section(host, {"ServiceAccountFile": "keys/dicom-osimis.json"}, Send=SEND)


def wait_for_confirmed(host: DebianHost, *arguments: str, wait: float = 30) -> None:
    """Until the worker has sent an instance and seen it in the store."""
    (host.folder / "image.dcm").write_bytes(make_instance())
    deadline = time.monotonic() + wait
    while host.curl("/gcp/transfers", *arguments) is None:
        assert time.monotonic() < deadline, host.log
        time.sleep(0.1)
    assert host.curl("/instances", "--data-binary", f"@{host.folder}/image.dcm", *arguments)
    while host.curl("/gcp/accounts/my-google/transfers", *arguments)["Confirmed"]["Instances"] < 1:
        assert time.monotonic() < deadline, host.log
        time.sleep(0.2)


def test_a_credential_beside_the_configuration(host):
    prepare(host)
    host.restart()
    host.wait_for_servers("my-google")
    wait_for_confirmed(host)
    code, told, _ = check(host)
    assert code == 0, told
