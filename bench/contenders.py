"""Ways to bring what an Orthanc holds into a DICOM store, each with its best documented settings.

A contender is made for one transfer. What it needs of Orthanc's configuration is asked for before
Orthanc starts. The clock runs from ``send`` on, or from the start of Orthanc on for a contender
that sends by itself: nobody's preparations count but those of the latter.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bench.machine import peak_memory_mb
from bench.workload import BOUNDARY, Load
from tests.support.emulator import STORE_PATH
from tests.support.orthanc import Orthanc

__all__ = [
    "Contender",
    "Curl",
    "Destination",
    "DicomwebClient",
    "PluginJobs",
    "Studies",
    "TransferError",
]

Studies = Mapping[str, Sequence[str]]
"""Orthanc's identifiers of studies, and of the instances of each."""

PEER = Path(__file__).with_name("peers") / "dicomweb_client_upload.py"
POLL = 0.05
PATIENCE = 3600.0
SERVER = "store"


@dataclass(frozen=True)
class Destination:
    """A DICOM store behind a URL, with credentials for it, and who vouches for it in HTTPS."""

    url: str
    token: str
    service_account: Path
    authority: Path | None = None

    @property
    def dicomweb(self) -> str:
        """The root of the store's DICOMweb resources."""
        return f"{self.url}/v1/{STORE_PATH}/dicomWeb"

    @property
    def trusted(self) -> dict[str, Any]:
        """What Orthanc's configuration must have to trust it."""
        return {} if self.authority is None else {"HttpsCACertificates": str(self.authority)}


class TransferError(Exception):
    """A contender has given up."""


class Contender(Protocol):
    """What transfers; ``sends_by_itself`` if it begins as soon as Orthanc starts."""

    sends_by_itself: bool

    def configuration(self, destination: Destination) -> dict[str, Any]:
        """What Orthanc's configuration must have."""

    def start(self, orthanc: Orthanc, destination: Destination) -> None:
        """Make ready to send; Orthanc has started."""

    def send(self, studies: Studies) -> None:
        """Begin to send studies that Orthanc has."""

    def wait_until_confirmed(self, instances: int) -> None:
        """Wait until so many are transferred, for all this contender can know.

        Raises
        ------
        TransferError
            If it failed, or takes beyond all patience.
        """

    def peak_memory(self) -> float | None:
        """Of its own processes, in MB; None if it lives in Orthanc."""

    def stop(self) -> None:
        """End whatever was started."""


class PluginJobs:
    """The DICOMweb plugin's asynchronous STOW jobs: one for each study, all submitted at once.

    With ``jobs``, so many run at a time, and studies are divided to make so many if they are fewer.
    """

    sends_by_itself = False

    def __init__(self, jobs: int | None = None) -> None:
        self._jobs = jobs
        self._pending: set[str] = set()

    def configuration(self, destination: Destination) -> dict[str, Any]:
        server = {
            "Url": destination.dicomweb,
            "HttpHeaders": {"Authorization": f"Bearer {destination.token}"},
            "Timeout": int(PATIENCE),  # of the whole transfer
        }
        concurrent = {} if self._jobs is None else {"ConcurrentJobs": self._jobs}
        return {
            "DicomWeb": {"Servers": {SERVER: server}},
            "JobsHistorySize": 100_000,  # jobs beyond are forgotten, and whether they failed
            **concurrent,
            **destination.trusted,
        }

    def start(self, orthanc: Orthanc, destination: Destination) -> None:
        self._orthanc = orthanc

    def send(self, studies: Studies) -> None:
        for resources in self._divided(studies):
            order = {"Resources": resources, "Synchronous": False}
            job = self._orthanc.json("POST", f"/dicom-web/servers/{SERVER}/stow", order)
            self._pending.add(job["ID"])

    def _divided(self, studies: Studies) -> Iterator[Sequence[str]]:
        parts = -(-(self._jobs or 1) // len(studies))
        for study, instances in studies.items():
            if parts == 1:
                yield [study]
            else:
                yield from (instances[part::parts] for part in range(min(parts, len(instances))))

    def wait_until_confirmed(self, instances: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while self._pending:
            for job in self._orthanc.json("GET", "/jobs?expand"):
                if job["State"] == "Success":
                    self._pending.discard(job["ID"])
                elif job["State"] == "Failure":
                    raise TransferError(f"a job failed: {job['ErrorDescription']} {job['Content']}")
            if time.monotonic() > deadline:
                raise TransferError(f"{len(self._pending)} jobs do not end")
            time.sleep(POLL)

    def peak_memory(self) -> float | None:
        return None

    def stop(self) -> None:
        pass


class DicomwebClient:
    """Reads instances from Orthanc and stores them with dicomweb-client, in a process of its own.

    The library does not promise that a client may be shared by threads: each thread has its own.
    """

    sends_by_itself = False

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads

    def configuration(self, destination: Destination) -> dict[str, Any]:
        return {}

    def start(self, orthanc: Orthanc, destination: Destination) -> None:
        options = (orthanc.url, destination.dicomweb, destination.token, str(self._threads))
        bundle = destination.authority
        trusted = {} if bundle is None else {"REQUESTS_CA_BUNDLE": str(bundle)}
        self._command = Command(sys.executable, str(PEER), *options, environment=trusted)
        self._command.wait_until_ready()

    def send(self, studies: Studies) -> None:
        self._command.tell(json.dumps(studies))

    def wait_until_confirmed(self, instances: int) -> None:
        self._command.wait()

    def peak_memory(self) -> float | None:
        return self._command.peak_memory

    def stop(self) -> None:
        self._command.kill()


class Curl:
    """One request with all instances from a file, without Orthanc: what one connection can do."""

    sends_by_itself = False

    def __init__(self, load: Load) -> None:
        self._load = load

    def configuration(self, destination: Destination) -> dict[str, Any]:
        return {}

    def start(self, orthanc: Orthanc, destination: Destination) -> None:
        self._destination = destination

    def send(self, studies: Studies) -> None:
        kind = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
        headers = (
            *("--header", f"Authorization: Bearer {self._destination.token}"),
            *("--header", f"Content-Type: {kind}"),
            *("--header", "Accept: application/dicom+json"),
            *("--header", "Expect:"),
        )
        bundle = self._destination.authority
        trusted = () if bundle is None else ("--cacert", str(bundle))
        self._command = Command(
            *("curl", "--silent", "--show-error", "--fail", "--output", "/dev/null", *headers),
            *trusted,
            *("--request", "POST", "--upload-file", str(self._load.body)),
            f"{self._destination.dicomweb}/studies",
        )

    def wait_until_confirmed(self, instances: int) -> None:
        self._command.wait()

    def peak_memory(self) -> float | None:
        return self._command.peak_memory

    def stop(self) -> None:
        self._command.kill()


class Command:
    """A process that ends when its work is done; its peak memory is looked up until then."""

    def __init__(self, *command: str, environment: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self.peak_memory = 0.0

    def wait_until_ready(self) -> None:
        """Wait until it writes a line."""
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise RuntimeError(f"{self._process.args!r} has ended before its work")

    def tell(self, line: str) -> None:
        """Write a line to its input."""
        assert self._process.stdin is not None
        print(line, file=self._process.stdin, flush=True)

    def wait(self) -> None:
        """Wait until it ends by itself, and well."""
        deadline = time.monotonic() + PATIENCE
        while self._process.poll() is None:
            with suppress(OSError, ValueError):  # it has ended meanwhile
                self.peak_memory = max(self.peak_memory, peak_memory_mb(self._process.pid))
            if time.monotonic() > deadline:
                raise TransferError(f"{self._process.args!r} does not end")
            time.sleep(POLL / 2)
        if self._process.returncode:
            raise TransferError(f"exit code {self._process.returncode} of {self._process.args!r}")

    def kill(self) -> None:
        """End it, if it has not ended."""
        self._process.kill()
        self._process.communicate()
