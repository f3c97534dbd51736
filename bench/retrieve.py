"""How fast instances of a DICOM store come to be in Orthanc, and at what cost in memory.

Each subject of a round gets a fresh Orthanc with the connector, empty, and a link to the store of
its row. The clock runs from the request on, until Orthanc counts every instance, whatever the
subject says. Afterwards Orthanc must have each of them with its MD5.
A subject that gives up has no time, but a number of instances that are missing.
"""

from __future__ import annotations

import http.client
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from bench.contenders import PATIENCE, Destination, TransferError
from bench.custody import Options, linked
from bench.custody_rows import GIANT, PLUGIN, PLUGIN_8, PLUGIN_ONE, WORKER
from bench.frame import Figure, Figures, Goal, Measurement, Round
from bench.machine import cpu_seconds, descendants, peak_memory_mb
from bench.network import GOOGLE, LOOPBACK, REMOTE, Network
from bench.supply import Stored, fill
from bench.workload import Workload
from tests.support.emulator import Emulator
from tests.support.keys import STORE
from tests.support.orthanc import Orthanc

__all__ = ["ROWS", "measurements"]

LARGE, SMALL = Workload(1, 500, 512 * 1024), Workload(100, 10, 10_000)
ACCOUNT = "dicom"
POLL = 0.02
POLL_END = 0.1  # what is asked costs more than a count
READY = 60.0
NOWHERE = "2.25.1"
"""The UID of a study that no store has."""

SECONDS = Figure("seconds", "Request to all instances in Orthanc", "s", 2)
ENDED = Figure("ended", "Request to the end of all jobs, or retrievals", "s", 2)
MISSING = Figure("missing", "Instances missing in Orthanc, where it gave up", "instances")
MEMORY = Figure("worker", "Peak memory of the worker", "MB")
ORTHANC = Figure("orthanc", "Peak memory of Orthanc", "MB")
CPU = Figure("cpu", "Processor time of the worker", "s", 2)
ORTHANC_CPU = Figure("orthanc_cpu", "Processor time of Orthanc meanwhile", "s", 2)
STORE_CPU = Figure("store_cpu", "Processor time of the store meanwhile", "s", 2)


@dataclass(frozen=True)
class Row:
    """A measurement: what is brought back, over which network, and what for."""

    name: str
    title: str
    workload: Workload
    network: Network
    goals: tuple[Goal, ...]
    subjects: Sequence[str] = (PLUGIN, PLUGIN_ONE, PLUGIN_8, WORKER)
    pairs: int = 3


def _times(most: float, *of: str) -> tuple[Goal, ...]:
    """A goal for each of the plugin's ways."""
    return tuple(Goal("seconds", WORKER, most, "times", (way,)) for way in of or (PLUGIN,))


ROWS = (
    Row(
        "retrieve-large",
        "Retrieve a large study",
        LARGE,
        LOOPBACK,
        _times(0.9),
        subjects=(PLUGIN, PLUGIN_8, WORKER),
    ),
    Row(
        "retrieve-small",
        "Retrieve many small studies",
        SMALL,
        LOOPBACK,
        _times(1 / 10, PLUGIN, PLUGIN_ONE),
    ),
    Row(
        "retrieve-small-remote",
        "Retrieve many small studies, far away",
        SMALL,
        REMOTE,
        _times(1 / 4, PLUGIN, PLUGIN_ONE),
    ),
    Row(
        "retrieve-small-google",
        "Retrieve many small studies, at Google's pace",
        SMALL,
        GOOGLE,
        _times(1 / 4, PLUGIN, PLUGIN_ONE),
    ),
    Row(
        "retrieve-giant",
        "Retrieve a giant instance",
        GIANT,
        LOOPBACK,
        (Goal("worker", WORKER, 250, "value"),),
        subjects=(PLUGIN, WORKER),
        pairs=1,
    ),
)


def measurements(folder: Path, options: Options | None = None) -> Iterator[Measurement]:
    """Each is to be taken before the next one: its store is there until then."""
    options = options or Options()
    for row in ROWS:
        chosen = [name for name in row.subjects if name in options.chosen]
        if chosen:
            with _scene(folder / row.name, row, options) as scene:
                yield _measurement(row, chosen, scene.retrieve)


def _measurement(
    row: Row, subjects: Sequence[str], retrieve: Callable[[str], Figures]
) -> Measurement:
    def taken(order: Sequence[str]) -> Round:
        return {name: retrieve(name) for name in order}

    return Measurement(
        row.name,
        row.title,
        subjects,
        (SECONDS, ENDED, MISSING, CPU, ORTHANC_CPU, STORE_CPU, MEMORY, ORTHANC),
        taken,
        pairs=row.pairs,
        peers=((WORKER, PLUGIN_8),) if {WORKER, PLUGIN_8} <= set(subjects) else (),
        goals=row.goals,
    )


@contextmanager
def _scene(folder: Path, row: Row, options: Options) -> Iterator[Scene]:
    workload = row.workload.scaled(options.scale)
    (folder / "emulator").mkdir(parents=True)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        emulator = Emulator(folder / "emulator")
        stack.callback(emulator.kill)
        yield Scene(folder, emulator, workload, options.network or row.network)


class Scene:
    """The store of a row, which is filled when it is first needed."""

    def __init__(
        self, folder: Path, emulator: Emulator, workload: Workload, network: Network
    ) -> None:
        self._folder, self._emulator = folder, emulator
        self._workload, self._network = workload, network
        self._numbers = count()
        self._stored: list[Stored] = []

    def expect(self, stored: Sequence[Stored]) -> None:
        """Have these brought back, which a store has that was filled before."""
        self._stored = list(stored)

    def retrieve(self, subject: str) -> Figures:
        """Bring everything into an Orthanc that has nothing."""
        if not self._stored:
            self._stored = fill(self._emulator, self._workload)
        folder = self._folder / f"round{next(self._numbers)}"
        folder.mkdir()
        way = WAYS[subject]()
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            link = linked(self._emulator, self._network, folder, None)
            configuration = _configuration(stack.enter_context(link)) | way.configuration
            orthanc = stack.enter_context(Orthanc(folder / "orthanc", configuration))
            orthanc.wait_for_servers(ACCOUNT)
            way.start(orthanc)
            before = self._processor_times(orthanc)
            figures = self._timed(way, orthanc)
            for key, seconds in self._processor_times(orthanc).items():
                if key in before:
                    figures[key] = seconds - before[key]
            if "seconds" in figures:
                self._check(orthanc)
            figures["orthanc"] = peak_memory_mb(orthanc.pid)
            memory = _peak_memory_of_workers(orthanc)
            return {**figures, "worker": memory} if memory else figures

    def _processor_times(self, orthanc: Orthanc) -> Figures:
        workers = list(descendants(orthanc.pid))
        return {
            "orthanc_cpu": cpu_seconds(orthanc.pid),
            "store_cpu": cpu_seconds(self._emulator.pid),
            **({"cpu": sum(map(cpu_seconds, workers))} if workers else {}),
        }

    def _timed(self, way: Way, orthanc: Orthanc) -> Figures:
        began = time.monotonic()
        try:
            way.ask(self._stored)
            seconds = self._wait_until_counted(way, orthanc) - began
            while not way.has_ended():
                _give_up_after(began)
                time.sleep(POLL_END)
            ended = time.monotonic() - began
        except TransferError as error:
            print(f"{type(way).__name__}: {error}", file=sys.stderr, flush=True)
            return {"missing": self._workload.total - _count(orthanc)}
        return {"seconds": seconds, "ended": ended}

    def _wait_until_counted(self, way: Way, orthanc: Orthanc) -> float:
        """When Orthanc counted all instances, by the monotonic clock."""
        began = asked = time.monotonic()
        while _count(orthanc) < self._workload.total:
            _give_up_after(began)
            time.sleep(POLL)
            if time.monotonic() > asked + 1:
                asked = time.monotonic()
                if way.has_ended() and _count(orthanc) < self._workload.total:
                    raise TransferError("it has ended before all was there")
        return time.monotonic()

    def _check(self, orthanc: Orthanc) -> None:
        """Raise RuntimeError unless Orthanc has the very bytes of the store's instances."""
        found = [
            orthanc.request("GET", f"/instances/{one}/attachments/dicom/md5").data.decode()
            for one in orthanc.json("GET", "/instances")
        ]
        if sorted(found) != sorted(stored.md5 for stored in self._stored):
            raise RuntimeError(f"Orthanc has other bytes than the store: {len(found)} instances")


class Way(Protocol):
    """What brings instances into an Orthanc."""

    configuration: Mapping[str, Any]
    """What Orthanc's configuration must have for it."""

    def start(self, orthanc: Orthanc) -> None:
        """Make ready; Orthanc has started."""

    def ask(self, stored: Sequence[Stored]) -> None:
        """Want what the store has."""

    def has_ended(self) -> bool:
        """Whether it says that all has come.

        Raises
        ------
        TransferError
            If it failed.
        """


class PluginRetrieve:
    """The DICOMweb plugin's asynchronous jobs: one for each study, all submitted at once.

    With ``jobs``, so many run at a time, each with its part of the studies, one after the other,
    or of the instances if there is a single study.
    """

    def __init__(self, jobs: int | None = None) -> None:
        self._jobs = jobs
        self._pending: set[str] = set()
        concurrent = {} if jobs is None else {"ConcurrentJobs": jobs}
        # Jobs beyond those are forgotten, and whether they failed.
        self.configuration = {"JobsHistorySize": 100_000, **concurrent}

    def start(self, orthanc: Orthanc) -> None:
        self._orthanc = orthanc

    def ask(self, stored: Sequence[Stored]) -> None:
        resources = _studies(stored)
        jobs = len(resources) if self._jobs is None else self._jobs
        if len(resources) < jobs:
            resources = [
                {"Study": one.study, "Series": one.series, "Instance": one.instance}
                for one in stored
            ]
        for part in range(min(jobs, len(resources))):
            order = {"Resources": resources[part::jobs], "Synchronous": False}
            job = self._orthanc.json("POST", f"/dicom-web/servers/{ACCOUNT}/retrieve", order)
            self._pending.add(job["ID"])

    def has_ended(self) -> bool:
        for job in self._orthanc.json("GET", "/jobs?expand") if self._pending else ():
            if job["State"] == "Success":
                self._pending.discard(job["ID"])
            elif job["State"] == "Failure":
                raise TransferError(f"a job failed: {job['ErrorDescription']} {job['Content']}")
        return not self._pending


class WorkerRetrieve:
    """This project's worker, in an Orthanc without a rule: it is there from a request before."""

    configuration: Mapping[str, Any] = {}

    def start(self, orthanc: Orthanc) -> None:
        """Have the worker started by a request for what the store has not."""
        self._orthanc = orthanc
        self._pending = set(self._retrieve([{"Study": NOWHERE}]))
        deadline = time.monotonic() + READY
        while not self._ended():
            if time.monotonic() > deadline:
                raise RuntimeError(f"the worker has not begun:\n{orthanc.log[-3000:]}")
            time.sleep(POLL_END)

    def ask(self, stored: Sequence[Stored]) -> None:
        self._pending = set(self._retrieve(_studies(stored)))

    def has_ended(self) -> bool:
        ended = self._ended()
        if failed := [one for one in ended.values() if one["State"] != "complete"]:
            raise TransferError(f"{len(failed)} retrievals are not complete, such as {failed[0]}")
        return len(ended) == len(self._pending)

    def _retrieve(self, resources: Sequence[Mapping[str, str]]) -> list[int]:
        deadline = time.monotonic() + READY
        body = {"Resources": resources}
        while True:
            answer = self._orthanc.request("POST", f"/gcp/accounts/{ACCOUNT}/retrieve", body)
            if answer.status == http.client.OK:
                numbers: list[int] = json.loads(answer.data)["Retrievals"]
                return numbers
            if time.monotonic() > deadline:
                raise TransferError(f"{answer.status}: {answer.data!r}")
            time.sleep(POLL_END)

    def _ended(self) -> dict[int, dict[str, Any]]:
        """Of what was asked for, that which has ended, by its numbers."""
        path = f"/gcp/accounts/{ACCOUNT}/retrievals?limit=1000"
        answer = self._orthanc.request("GET", path)
        if answer.status != http.client.OK:  # the worker has just been started
            return {}
        return {
            one["Id"]: one
            for one in json.loads(answer.data)["Retrievals"]
            if one["Ended"] and one["Id"] in self._pending
        }


WAYS: Mapping[str, Callable[[], Way]] = {
    PLUGIN: PluginRetrieve,
    PLUGIN_ONE: lambda: PluginRetrieve(1),
    PLUGIN_8: lambda: PluginRetrieve(8),
    WORKER: WorkerRetrieve,
}


def _configuration(destination: Destination) -> dict[str, Any]:
    """The connector's, with an account whose requests by the plugin may take long."""
    account = {
        **STORE,
        "ServiceAccountFile": str(destination.service_account),
        "Server": {"Timeout": int(PATIENCE)},
    }
    section = {"BaseUrl": f"{destination.url}/v1/", "Accounts": {ACCOUNT: account}}
    return {"GoogleCloudPlatform": section, **destination.trusted}


def _studies(stored: Sequence[Stored]) -> list[dict[str, str]]:
    return [{"Study": study} for study in dict.fromkeys(one.study for one in stored)]


def _count(orthanc: Orthanc) -> int:
    return int(orthanc.json("GET", "/statistics")["CountInstances"])


def _give_up_after(began: float) -> None:
    if time.monotonic() > began + PATIENCE:
        raise TransferError("it does not end")


def _peak_memory_of_workers(orthanc: Orthanc) -> float:
    """All processes that Orthanc has started, each at its own peak."""
    total = 0.0
    for pid in descendants(orthanc.pid):
        with suppress(OSError, ValueError):  # it has ended meanwhile
            total += peak_memory_mb(pid)
    return total
