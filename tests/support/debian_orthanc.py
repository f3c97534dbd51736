"""Debian's Orthanc as Debian starts it: a folder of files, its own user, nothing of the tests'."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from pathlib import Path

import urllib3

from tests.support.orthanc import EXECUTABLE, Orthanc, free_port, wait_until

__all__ = ["USER", "DebianOrthanc", "contents", "copy"]

USER = "orthanc"
CONFIGURATION = Path("/etc/orthanc")


class DebianOrthanc(Orthanc):
    """A copy of Debian's configuration with ports and storage of its own, run as Debian's user.

    Parameters
    ----------
    folder
        A folder that every user can pass.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.configuration = folder / "orthanc"
        self.configuration_file = self.configuration
        self.log_file = folder / "orthanc.log"
        self._http = urllib3.PoolManager(timeout=60, retries=False)
        self._authorization: dict[str, str] = {}
        self._process = None
        shutil.copytree(CONFIGURATION, self.configuration, copy_function=copy)
        storage = folder / "storage"
        storage.mkdir()
        shutil.chown(storage, USER, USER)
        main = self.configuration / "orthanc.json"
        text = main.read_text().replace("/var/lib/orthanc/db-v6", str(storage))
        text = re.sub(r'("HttpPort" : )\d+', rf"\g<1>{self.port}", text)
        # Without it, Orthanc stops three seconds sooner.
        main.write_text(text.replace('"DicomServerEnabled" : true', '"DicomServerEnabled" : false'))

    def start(self, wait: float = 30) -> None:
        user = pwd.getpwnam(USER)
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [EXECUTABLE, str(self.configuration_file)],
                stdout=log,
                stderr=log,
                cwd="/",
                env={"PATH": "/usr/sbin:/usr/bin", "LANG": "C.UTF-8"},
                user=user.pw_uid,
                group=user.pw_gid,
                extra_groups=[],
            )
        process = self._process
        wait_until(
            lambda: process.poll() is not None or self.answers(),
            wait,
            lambda: f"Orthanc does not answer:\n{self.log}",
        )
        assert process.poll() is None, f"Orthanc has died:\n{self.log}"

    def restart(self) -> str:
        """Stop and start; what it has logged since."""
        if self.running:
            self.stop()
        before = len(self.log) if self.log_file.exists() else 0
        self.start()
        return self.log[before:]

    def contents(self) -> dict[str, tuple[bytes, int, int, int]]:
        """Every file of the configuration: what it says, its mode and owner."""
        return contents(self.configuration)


def contents(folder: Path) -> dict[str, tuple[bytes, int, int, int]]:
    """Every file below a folder: what it says, its mode and owner."""
    return {
        str(file.relative_to(folder)): (
            file.read_bytes(),
            (status := file.stat()).st_mode,
            status.st_uid,
            status.st_gid,
        )
        for file in sorted(folder.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }


def copy(source: str, target: str) -> None:
    """Copy a file with its owner."""
    shutil.copy2(source, target)
    status = Path(source).stat()
    os.chown(target, status.st_uid, status.st_gid)
