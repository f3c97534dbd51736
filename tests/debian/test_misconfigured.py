"""What people get wrong, found from Orthanc's log and ``check`` alone, and corrected so.

For each: what is wrong, a word that the log has to have at Orthanc's default level, the line of
``check`` that fails with words of its cause and of its remedy, and what the remedy says to do: then
all is well.
"""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.debian.test_check import check, failed, write_section
from tests.support.debian import CREDENTIALS, ETC, DebianHost

KEY = f"{CREDENTIALS}/dicom-osimis.json"
SEND = [{"To": "my-google"}]


@dataclass(frozen=True)
class Mistake:
    """A mistake in the making, and how it is to be found and corrected."""

    make: Callable[[DebianHost], Any]
    log: str
    line: str
    cause: str
    remedy: str
    correct: Callable[[DebianHost], Any]


def put_key(host: DebianHost, place: str) -> None:
    shutil.copy(host.path(KEY), host.path(place))
    shutil.chown(host.path(place), "orthanc", "orthanc")


def in_configuration(host: DebianHost) -> None:
    """The key file lies in /etc/orthanc, as the original's sample suggests."""
    put_key(host, f"{ETC}/dicom-osimis.json")
    write_section(host, {"ServiceAccountFile": f"{ETC}/dicom-osimis.json"})


def out_of_configuration(host: DebianHost) -> None:
    host.path(f"{ETC}/dicom-osimis.json").unlink()
    write_section(host)


def misspelt(host: DebianHost) -> None:
    section = json.loads(host.path(f"{ETC}/gcp.json").read_text())
    host.configure("gcp.json", {"GoogleCloudPlatfrom": section["GoogleCloudPlatform"]})


def chmod(mode: int, owner: str = "root") -> Callable[[DebianHost], None]:
    def change(host: DebianHost) -> None:
        host.path(KEY).chmod(mode)
        shutil.chown(host.path(KEY), owner, "root")

    return change


def section(**options: Any) -> Callable[[DebianHost], None]:
    return lambda host: write_section(host, **options)


def account(**options: Any) -> Callable[[DebianHost], None]:
    return lambda host: write_section(host, options)


def set_authorities(value: str) -> Callable[[DebianHost], None]:
    return lambda host: host.edit("orthanc.json", "HttpsCACertificates", value)


def give_storage(owner: str) -> Callable[[DebianHost], None]:
    """The ledger's file, made by root in a first try by hand, belongs to root."""

    def change(host: DebianHost) -> None:
        folder = host.path("/var/lib/orthanc/db-v6")
        folder.mkdir(exist_ok=True)
        shutil.chown(folder, "orthanc", "orthanc")
        ledger = folder / "orthanc-gcp.sqlite"
        ledger.touch()
        ledger.chmod(stat.S_IRUSR | stat.S_IWUSR)
        shutil.chown(ledger, owner, owner)
        write_section(host, Send=SEND)

    return change


AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
MISTAKES = {
    "key in the configuration": Mistake(
        in_configuration,
        "private_key",
        "options",
        "private_key",
        "correct it",
        out_of_configuration,
    ),
    "section misspelt": Mistake(
        misspelt,
        "did you mean GoogleCloudPlatform",
        "options",
        "did you mean GoogleCloudPlatform",
        "correct it",
        section(),
    ),
    "empty authorities": Mistake(
        set_authorities(""),
        "HttpsCACertificates is empty or missing",
        "HTTPS authorities",
        "every HTTPS transfer",
        AUTHORITIES,
        set_authorities(AUTHORITIES),
    ),
    "key that Orthanc may not read": Mistake(
        chmod(0o600),
        "cannot be read",
        "credential",
        "may not",
        "chown orthanc",
        chmod(0o600, "orthanc"),
    ),
    "address without a scheme": Mistake(
        section(BaseUrl="healthcare.googleapis.com/v1"),
        "BaseUrl",
        "options",
        "https://",
        "correct it",
        section(BaseUrl="https://healthcare.googleapis.com/v1"),
    ),
    "store that does not exist": Mistake(
        account(DicomStore="dicoms"),
        "published",
        "store",
        "no DICOM store dicoms",
        "DicomStore, or create it",
        account(DicomStore="dicom"),
    ),
    "rule with a keyword in the wrong case": Mistake(
        section(Send=[{"To": "my-google", "Tags": {"institutionname": "North*"}}]),
        "InstitutionName",
        "rules",
        "did you mean InstitutionName",
        "correct it",
        section(Send=[{"To": "my-google", "Tags": {"InstitutionName": "North*"}}]),
    ),
    "rule for an account that is none": Mistake(
        section(Send=[{"To": "mygoogle"}]),
        "mygoogle",
        "rules",
        "there is no account",
        "correct it",
        section(Send=SEND),
    ),
    "proxy that is none": Mistake(
        lambda host: host.edit("orthanc.json", "HttpProxy", "localhost:3128"),
        "the proxy localhost:3128 (HttpProxy",
        "proxy",
        "the proxy localhost:3128 (HttpProxy",
        "HttpProxy",
        lambda host: host.edit("orthanc.json", "HttpProxy", ""),
    ),
    "ledger of root's": Mistake(
        give_storage("root"),
        "ledger",
        "database",
        "not writable",
        "chown",
        give_storage("orthanc"),
    ),
}


@pytest.fixture
def site(host):
    """An installation by the book, with an account that works."""
    host.google.start()
    (host.folder / "key.json").write_text(host.google.credential())
    host.give_key()
    done = host.run("/opt/orthanc-gcp/bin/orthanc-gcp install --orthanc-config /etc/orthanc")
    assert done.returncode == 0, done.stdout + done.stderr
    host.path(f"{ETC}/google-cloud-platform.json").unlink()
    write_section(host)
    return host


ALIKE = {
    "section misspelt",
    "address without a scheme",
    "rule with a keyword in the wrong case",
    "rule for an account that is none",
    "proxy that is none",
}
"""Those that are found in the same way as others."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.long if name in ALIKE else ()) for name in MISTAKES],
)
def test_a_mistake_is_found_and_corrected_by_what_is_said(site, name):
    mistake = MISTAKES[name]
    mistake.make(site)
    site.restart()
    site.wait_for_log(mistake.log)
    assert "BEGIN PRIVATE KEY" not in site.log
    for arguments in ([], ["--before-restart"]):
        code, told, words = check(site, *arguments)
        assert code == 1, words
        lines = failed(told)
        assert mistake.line in lines, lines
        assert mistake.cause in lines[mistake.line]["Cause"]
        assert mistake.remedy in lines[mistake.line]["Remedy"]
        assert "BEGIN PRIVATE KEY" not in json.dumps(told)
    mistake.correct(site)
    site.restart()
    site.wait_for_servers("my-google")
    code, told, _ = check(site)
    assert code == 0, failed(told)
