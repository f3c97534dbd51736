"""Where measurements take place: Orthancs, their scripts, a key and token endpoints."""

from __future__ import annotations

import re
import shutil
import ssl
import tempfile
import time
from contextlib import ExitStack
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from bench.token_endpoint import TokenEndpoint
from orthanc_gcp.configuration import DEFAULT_BASE_URL
from orthanc_gcp.plugin import script
from tests.support.certificates import Authority
from tests.support.keys import STORE, service_account, write
from tests.support.orthanc import Orthanc, wait_until

__all__ = ["BEGUN", "INITIALISING", "PUBLISHED", "READY", "SCRIPT_DONE", "Instance", "Place"]

# Lines of Orthanc's log, in the order in which a start writes them.
INITIALISING = "Python plugin is initializing"
SCRIPT_DONE = "SQLite index directory"  # the first line after the script has been imported
BEGUN = "several credentials"  # the connector's first words, because of _USER_TOO below
READY = "Orthanc has started"
PUBLISHED = "published as DICOMweb server"

EMPTY_SCRIPT = "import orthanc\n"
VERSION_SCRIPT = """\
import sys

import orthanc

orthanc.LogWarning("embedded Python (version %d.%d.%d)" % sys.version_info[:3])
"""
PEER_SCRIPT = Path(__file__).with_name("peers") / "thread_per_account.py"

# A second credential, which only earns a warning when the connector begins: its time stamp.
_USER_TOO = {
    "AuthorizedUserClientId": "unused",
    "AuthorizedUserClientSecret": "unused",
    "AuthorizedUserRefreshToken": "unused",
}
_STAMP = re.compile(r"^[IWE](\d{4} \d\d:\d\d:\d\d\.\d+)", re.MULTILINE)
_ERROR = re.compile(r"^E\d{4} .*", re.MULTILINE)


class Instance(Orthanc):
    """An Orthanc whose log tells when things happened; nothing asks it over HTTP meanwhile."""

    began = 0.0

    def __enter__(self) -> Instance:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.running:
            self.kill()
        shutil.rmtree(self.folder)

    def start(self, wait: float = 60) -> None:
        """Start, and wait until it takes requests."""
        self.began = time.time()
        super().start(wait)

    def answers(self) -> bool:
        """Whether Orthanc has started, by its log."""
        return READY in self.log

    def wait_until_published(self, accounts: int, wait: float = 300) -> None:
        """Wait until the definition of every account has been published."""
        wait_until(lambda: self._published() >= accounts, wait, lambda: self.log[-2000:])

    def _published(self) -> int:
        log = self.log
        if error := _ERROR.search(log):  # what is measured does not work
            raise RuntimeError(error[0])
        return log.count(PUBLISHED)

    def stamps(self, text: str) -> list[float]:
        """The times on the wall clock, to the microsecond, of the lines that hold a text."""
        found = [_STAMP.match(line) for line in self.log.splitlines() if text in line]
        return [_wall_clock(match[1]) for match in found if match]

    def seconds_to(self, text: str) -> float:
        """From the start of the process to the first line that holds a text."""
        return self.stamps(text)[0] - self.began

    def seconds_to_last(self, text: str) -> float:
        """From the start of the process to the last line that holds a text."""
        return self.stamps(text)[-1] - self.began


class Place:
    """A folder, a key and token endpoints, for as long as the context lasts."""

    def __enter__(self) -> Place:
        with ExitStack() as stack:
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            self._numbers = count()
            authority = Authority(self.folder)
            plain = stack.enter_context(TokenEndpoint())
            encrypted = stack.enter_context(TokenEndpoint(authority.issue("127.0.0.1")))
            self._keys = {
                name: write(self.folder / f"{name}.json", service_account(address))
                for name, address in (
                    ("plain", plain.url),
                    ("encrypted", encrypted.url),
                    ("hanging", plain.hanging_url),
                )
            }
            self._bundle = _bundle(authority, self.folder)
            self._warm_up()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def empty(self) -> Instance:
        """Orthanc with a script that does nothing."""
        return self._instance({}, EMPTY_SCRIPT)

    def ours(self, accounts: int, key: str = "plain") -> Instance:
        """Orthanc with this project's plugin."""
        configuration = self._configuration(accounts, key)
        if key == "encrypted":
            configuration["HttpsCACertificates"] = str(self._bundle)
        return self._instance(configuration, script.text())

    def peer(self, accounts: int, key: str = "plain") -> Instance:
        """Orthanc with the script that has a thread per account."""
        configuration = self._configuration(accounts, key)
        return self._instance(configuration, PEER_SCRIPT.read_text())

    def _instance(self, configuration: dict[str, Any], text: str) -> Instance:
        return Instance(
            self.folder / f"orthanc{next(self._numbers)}",
            configuration,
            python_script=text,
            environment={"PYTHONPATH": _packages()} if text != script.text() else None,
        )

    def _configuration(self, accounts: int, key: str) -> dict[str, Any]:
        account = {**STORE, "ServiceAccountFile": self._keys[key]}
        entries = {f"store-{number:04}": account for number in range(accounts)}
        entries["store-0000"] = {**account, **_USER_TOO}
        section = {"BaseUrl": DEFAULT_BASE_URL, "RefreshInterval": 60, "Accounts": entries}
        # As the README has it; without, Orthanc's log has an error about the store.
        return {"HttpsCACertificates": _authorities(), "GoogleCloudPlatform": section}

    def _warm_up(self) -> None:
        """Start everything once: files come into memory, Python writes its bytecode."""
        for instance in (self.ours(1), self.peer(1)):
            with instance:
                instance.wait_until_published(1)
        with self._instance({}, VERSION_SCRIPT) as instance:
            self.versions = _versions(instance.log)


def _packages() -> str:
    """Where the libraries lie that the peer uses."""
    import google.auth

    return str(Path(google.auth.__file__).parents[2])


def _bundle(authority: Authority, folder: Path) -> Path:
    """The system's authorities and one more, as a site with its own authority has them."""
    bundle = folder / "bundle.pem"
    bundle.write_bytes(Path(_authorities()).read_bytes() + authority.file.read_bytes())
    return bundle


def _authorities() -> str:
    """The file of the authorities that the system trusts."""
    return ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"


def _versions(log: str) -> dict[str, str]:
    """The versions that Orthanc's log names."""
    patterns = {
        "Orthanc": r"Orthanc version: (\S+)",
        "DICOMweb plugin": r"plugin 'dicom-web' \(version ([^)]+)",
        "Python plugin": r"plugin 'python' \(version ([^)]+)",
        "Python": r"embedded Python \(version ([^)]+)",
    }
    found = {name: re.search(pattern, log) for name, pattern in patterns.items()}
    return {name: match[1] if match else "?" for name, match in found.items()}


def _wall_clock(stamp: str) -> float:
    """The moment of a time stamp of the log, which names no year."""
    dated = f"{time.localtime().tm_year}{stamp}"
    return datetime.strptime(dated, "%Y%m%d %H:%M:%S.%f").astimezone().timestamp()
