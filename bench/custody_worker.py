"""This project's worker as a contender: it follows Orthanc, and tells what it has confirmed."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from bench.contenders import PATIENCE, Destination, Studies, TransferError
from bench.machine import cpu_seconds, descendants, peak_memory_mb, wait_until_quiet
from orthanc_gcp.ledger.database import FILE_NAME
from orthanc_gcp.plugin import script
from tests.support.keys import STORE
from tests.support.orthanc import Orthanc

__all__ = ["CustodyWorker"]

ACCOUNT = "dicom"
POLL = 0.1  # the worker counts, the more the more often it is asked
SILENCE = 60.0  # until the account must have been told of
QUIET, QUIET_FOR = 0.2, 0.7
"""The share of a core, and for how many seconds: an answer of the slowest network takes less."""
_OK = 200


class CustodyWorker:
    """The worker that the plugin starts in an Orthanc whose configuration sends every instance.

    Parameters
    ----------
    account, section
        More options: of the account, and beside the accounts.
    checkout
        The folder of another commit, with its own ``.venv``, whose worker it is.
    """

    sends_by_itself = True

    def __init__(
        self,
        account: Mapping[str, Any] | None = None,
        section: Mapping[str, Any] | None = None,
        checkout: Path | None = None,
    ) -> None:
        self._account, self._section = account or {}, section or {}
        self._checkout = checkout
        self._peak = self._began = self._cpu = self._orthanc_cpu = 0.0

    def configuration(self, destination: Destination) -> dict[str, Any]:
        key = str(destination.service_account)
        section = {
            "BaseUrl": f"{destination.url}/v1/",
            "Accounts": {ACCOUNT: {**STORE, "ServiceAccountFile": key, **self._account}},
            "Send": [{"To": ACCOUNT, "Level": "Instance"}],
            **self._section,
        }
        return {"GoogleCloudPlatform": section, **destination.trusted}

    @property
    def python_script(self) -> str:
        """The script that loads the plugin into Orthanc."""
        if self._checkout is None:
            return script.text()
        python = self._checkout / ".venv" / "bin" / "python"
        code = "from orthanc_gcp.plugin import script; print(script.text())"
        environment = {"PYTHONPATH": str(self._checkout / "src")}
        command = [str(python), "-c", code]
        return subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, text=True, check=True
        ).stdout

    @property
    def environment(self) -> dict[str, str] | None:
        """What Orthanc has beside this process's environment: another commit must not see this."""
        return None if self._checkout is None else {"PYTHONPATH": ""}

    def start(self, orthanc: Orthanc, destination: Destination) -> None:
        """Orthanc has started the worker; wait until it answers."""
        self._orthanc = orthanc
        self.wait_until_confirmed(0)

    def wait_until_quiet(self) -> None:
        """Wait until it has compared what Orthanc had, and has a token, as peers are given theirs.

        Raises
        ------
        TimeoutError
            It does not come to rest.
        """
        wait_until_quiet(self._processor_time, QUIET, QUIET_FOR, SILENCE)

    def send(self, studies: Studies) -> None:
        """Ask for all studies at once; what arrives live it has seen itself."""
        self._began, self._cpu = time.time(), self._processor_time()
        self._orthanc_cpu = cpu_seconds(self._orthanc.pid)
        body = {"Resources": list(studies)}
        answer = self._orthanc.request("POST", f"/gcp/accounts/{ACCOUNT}/send", body)
        if answer.status != _OK:
            raise TransferError(f"{answer.status}: {answer.data!r}")

    def wait_until_confirmed(self, instances: int) -> None:
        began = time.monotonic()
        while (transfers := self._transfers()) is None or _of(transfers, "Confirmed") < instances:
            if transfers is not None and _of(transfers, "Quarantined"):
                raise TransferError(f"instances are quarantined: {transfers}")
            if time.monotonic() > began + (SILENCE if transfers is None else PATIENCE):
                raise TransferError(f"not confirmed: {transfers}")
            time.sleep(POLL)

    def _transfers(self) -> dict[str, Any] | None:
        """What is told of the account; None before anything is."""
        self._look_at_memory()
        answer = self._orthanc.request("GET", "/gcp/transfers")
        if answer.status != _OK:
            return None
        entries = json.loads(answer.data)
        return next((entry for entry in entries if entry["Account"] == ACCOUNT), None)

    def _look_at_memory(self) -> None:
        """All processes that Orthanc has started, each at its own peak."""
        total = 0.0
        for pid in descendants(self._orthanc.pid):
            with suppress(OSError, ValueError):  # it has ended meanwhile
                total += peak_memory_mb(pid)
        self._peak = max(self._peak, total)

    def peak_memory(self) -> float | None:
        return self._peak

    def figures(self) -> dict[str, float]:
        """Since :meth:`send`: processor time, and when the last instance was acknowledged.

        The processor time of Orthanc counts apart. Of another commit, nothing else is known: its
        ledger may be another one.
        """
        figures = {
            "cpu": self._processor_time() - self._cpu,
            "orthanc_cpu": cpu_seconds(self._orthanc.pid) - self._orthanc_cpu,
        }
        if self._checkout is not None:
            return figures
        ledger = self._orthanc.folder / "storage" / FILE_NAME
        with closing(sqlite3.connect(ledger)) as connection:
            (last,) = connection.execute(
                "SELECT max(acknowledged_at) FROM gcp_transfers"
            ).fetchone()
        return {**figures, "acknowledged": last - self._began}

    def _processor_time(self) -> float:
        return sum(cpu_seconds(pid) for pid in descendants(self._orthanc.pid))

    def stop(self) -> None:
        """Nothing: it ends with Orthanc."""


def _of(transfers: dict[str, Any], state: str) -> int:
    return int(transfers[state]["Instances"])
