"""How fast instances that Orthanc holds come to be in a DICOM store, and at what cost in memory.

Each subject of a round gets a fresh Orthanc that holds the workload already, a fresh emulator, and
a link to it. Afterwards the store must have every instance, whatever the subject says.
A subject that gives up has no time, but a number of instances that are missing.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from statistics import quantiles

from bench.contenders import (
    Contender,
    Curl,
    Destination,
    DicomwebClient,
    PluginJobs,
    TransferError,
)
from bench.custody_worker import CustodyWorker
from bench.frame import Figure, Figures, Goal, Measurement, Round
from bench.machine import peak_memory_mb
from bench.network import LOOPBACK, REMOTE, Network, Proxy
from bench.workload import Load, Workload, instances, prepare, upload
from orthanc_gcp.plugin import script
from tests.support.emulator import STORE_PATH, Emulator
from tests.support.orthanc import DICOMWEB, PYTHON, Orthanc

__all__ = ["ROWS", "SUBJECTS", "measurements"]

PLUGIN = "DICOMweb plugin"
PLUGIN_8 = "DICOMweb plugin, 8 jobs"
CLIENT = "dicomweb-client"
CLIENT_8 = "dicomweb-client, 8 threads"
CURL = "curl, one request"
WORKER = "orthanc-gcp worker"
WITHOUT_MD5 = "orthanc-gcp worker, Orthanc without MD5"
SAMPLE = "orthanc-gcp worker, Verify: Sample"
ALL_BYTES = "orthanc-gcp worker, Verify: Bytes"

SUBJECTS: Mapping[str, str] = {
    "plugin": PLUGIN,
    "plugin-8": PLUGIN_8,
    "client": CLIENT,
    "client-8": CLIENT_8,
    "curl": CURL,
    "worker": WORKER,
    "worker-without-md5": WITHOUT_MD5,
    "worker-sample": SAMPLE,
    "worker-bytes": ALL_BYTES,
}

SMALL = Workload(200, 10, 10_000)
LARGE = Workload(1, 4000, 512 * 1024)
GIANT = Workload(1, 1, 4_000_000_000)
LIVE = Workload(30, 10, 512 * 1024)
CHECKED = Workload(10, 100, 512 * 1024)
PAUSE = 1.0  # between the studies that arrive live

SECONDS = Figure("seconds", "Begin to all instances transferred", "s", 2)
MISSING = Figure("missing", "Instances missing in the store, where it gave up", "instances")
ACKNOWLEDGED = Figure("acknowledged", "Begin to all instances acknowledged by the store", "s", 2)
CPU = Figure("cpu", "Processor time of the worker", "s", 2)
SENDER = Figure("sender", "Peak memory of the sending process, where it is not Orthanc", "MB")
ORTHANC = Figure("orthanc", "Peak memory of Orthanc", "MB")
MEDIAN = Figure("median", "Last instance of a study received to study transferred, median", "s", 2)
P95 = Figure("p95", "Last instance of a study received to study transferred, 95 of 100", "s", 2)

EVERYBODY = (PLUGIN, PLUGIN_8, CLIENT, CLIENT_8, CURL, WORKER)
CHECKS = (WORKER, WITHOUT_MD5, SAMPLE, ALL_BYTES)


@dataclass(frozen=True)
class Row:
    """A measurement: who transfers what, over which network."""

    name: str
    title: str
    workload: Workload
    network: Network = LOOPBACK
    subjects: Sequence[str] = EVERYBODY
    figures: Sequence[Figure] = (SECONDS, MISSING, SENDER, ORTHANC)
    pairs: int = 5
    goals: tuple[Goal, ...] = ()


def _times(of: str, most: float) -> Goal:
    return Goal("seconds", WORKER, most, "times", of)


ROWS: Mapping[int, Sequence[Row]] = {
    1: (
        Row(
            "custody-small",
            "Many small studies",
            SMALL,
            goals=(_times(PLUGIN, 1 / 10), _times(PLUGIN_8, 1 / 4), _times(CLIENT, 1 / 3)),
        ),
        Row("custody-small-remote", "Many small studies, far away", SMALL, REMOTE, pairs=3),
    ),
    2: (
        Row(
            "custody-large",
            "A large study",
            LARGE,
            pairs=3,
            goals=(_times(PLUGIN, 1 / 0.9), _times(CURL, 1 / 0.6)),
        ),
    ),
    3: (
        Row(
            "custody-large-remote",
            "A large study, far away",
            LARGE,
            REMOTE,
            pairs=3,
            goals=(_times(PLUGIN, 1 / 4),),
        ),
    ),
    4: (
        Row(
            "custody-giant",
            "A giant instance",
            GIANT,
            subjects=(PLUGIN, WORKER),
            pairs=1,
            goals=(Goal("sender", WORKER, 250, "value"),),
        ),
    ),
    5: (
        Row(
            "custody-live",
            "Studies that arrive",
            LIVE,
            subjects=(PLUGIN, WORKER),
            figures=(MEDIAN, P95),
            pairs=3,
            goals=(Goal("p95", WORKER, 2, "value"),),
        ),
    ),
    6: tuple(
        Row(
            f"custody-studies-{size}",
            f"Studies of {size:,} instances",
            Workload(10_000 // size, size, 10_000),
            subjects=(WORKER,),
            pairs=3,
        )
        for size in (10, 100, 1000, 10_000)
    ),
    7: tuple(
        Row(
            f"custody-checks-{name}",
            f"What it costs to make sure, {name} instances",
            workload,
            subjects=CHECKS,
            figures=(ACKNOWLEDGED, SECONDS, CPU),
        )
        for name, workload in (("small", SMALL), ("large", CHECKED))
    ),
}
ARRIVING = 5
MOST_KEPT = 200_000_000
"""Bytes of a workload whose rounds leave their files until the last one.

For minutes after a file was deleted, ext4 passes over its inode at each new one: a store of many
small files would take 0.3 ms for each because of the round before, and 0.01 ms without it.
"""


def measurements(
    folder: Path, rows: Sequence[int], scale: float, subjects: Sequence[str]
) -> Iterator[Measurement]:
    """Measurements of some rows, each to be taken before the next one: a load is made for each."""
    for number in rows:
        for row in ROWS[number]:
            chosen = [name for name in row.subjects if name in subjects]
            if chosen:
                with _scene(folder / row.name, row, row.workload.scaled(scale)) as scene:
                    take = scene.live if number == ARRIVING else scene.transfer
                    yield _measurement(row, chosen, take)


def _measurement(row: Row, subjects: Sequence[str], take: Callable[[str], Figures]) -> Measurement:
    def taken(order: Sequence[str]) -> Round:
        return {name: take(name) for name in order}

    peers = ((WORKER, PLUGIN_8),) if {WORKER, PLUGIN_8} <= set(subjects) else ()
    return Measurement(
        row.name,
        row.title,
        subjects,
        row.figures,
        taken,
        pairs=row.pairs,
        peers=peers,
        goals=row.goals,
    )


@contextmanager
def _scene(folder: Path, row: Row, workload: Workload) -> Iterator[Scene]:
    try:
        yield Scene(folder, row, workload)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Scene:
    """A row's load, which is made when it is first needed, and the folders of its rounds."""

    def __init__(self, folder: Path, row: Row, workload: Workload) -> None:
        self._folder, self._row, self._workload = folder, row, workload
        self._numbers = count()
        self._load: Load | None = None

    def transfer(self, subject: str) -> Figures:
        """Everything is in Orthanc when the clock starts."""
        load = self._prepared()
        contender = _contender(subject, load)
        with self._stage(contender, load) as stage:
            if subject == WITHOUT_MD5:
                _forget_md5(stage.orthanc)
            figures = self._timed(contender, stage, load)
            figures["orthanc"] = peak_memory_mb(stage.orthanc.pid)
            if isinstance(contender, CustodyWorker):
                figures |= contender.figures()
            memory = contender.peak_memory()
            return figures if memory is None else {**figures, "sender": memory}

    def _timed(self, contender: Contender, stage: Stage, load: Load) -> Figures:
        stage.orthanc.start()
        contender.start(stage.orthanc, stage.destination)
        began = time.monotonic()
        try:
            contender.send(load.studies)
            contender.wait_until_confirmed(load.total)
        except TransferError as error:
            print(f"{self._row.name}: {error}", file=sys.stderr, flush=True)
            return {"missing": load.total - stage.stored()}
        seconds = time.monotonic() - began
        stage.check(load.total)
        return {"seconds": seconds}

    def live(self, subject: str) -> Figures:
        """Studies come one after the other; each is told to the contender when it is complete."""
        contender = _contender(subject, None)
        with self._stage(contender, None) as stage:
            stage.orthanc.start()
            contender.start(stage.orthanc, stage.destination)
            contender.wait_until_confirmed(0)
            times = list(self._arrivals(contender, stage))
            stage.check(self._workload.total)
        cuts = quantiles(times, n=20, method="inclusive") if len(times) > 1 else times
        return {"median": cuts[len(cuts) // 2], "p95": cuts[-1]}

    def _arrivals(self, contender: Contender, stage: Stage) -> Iterator[float]:
        total = 0
        for study in instances(self._workload):
            # Orthanc ends a connection after a second without a request.
            with closing(HTTPConnection("127.0.0.1", stage.orthanc.port, timeout=60)) as connection:
                stored = [upload(connection, head, pixels) for head, pixels in study]
            received = time.monotonic()
            total += len(stored)
            if not contender.sends_by_itself:
                contender.send({stored[0]["ParentStudy"]: [answer["ID"] for answer in stored]})
            contender.wait_until_confirmed(total)
            yield time.monotonic() - received
            time.sleep(PAUSE)

    def _prepared(self) -> Load:
        if self._load is None:
            self._load = prepare(
                self._workload, self._folder / "load", body=CURL in self._row.subjects
            )
        return self._load

    @contextmanager
    def _stage(self, contender: Contender, load: Load | None) -> Iterator[Stage]:
        """A fresh emulator, the link to it, and a fresh Orthanc with the load, not yet started."""
        folder = self._folder / f"round{next(self._numbers)}"
        with ExitStack() as stack:
            if self._workload.bytes > MOST_KEPT:
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
            emulator = Emulator(folder / "emulator")
            stack.callback(emulator.kill)
            url = emulator.url
            if self._row.network != LOOPBACK:
                url = stack.enter_context(Proxy(url, self._row.network)).url
            token = emulator.bearer()["Authorization"].removeprefix("Bearer ")
            service_account = emulator.credentials / "service-account.json"
            destination = Destination(url, token, service_account)
            orthanc = _orthanc(folder / "orthanc", contender, destination)
            if load is not None:
                load.copy(orthanc.folder)
            stack.callback(orthanc.stop)
            stack.callback(contender.stop)
            yield Stage(emulator, destination, orthanc)


@dataclass
class Stage:
    """Where one contender transfers."""

    emulator: Emulator
    destination: Destination
    orthanc: Orthanc

    def stored(self) -> int:
        """How many instances the store has."""
        metrics = self.emulator.call("GET", f"{STORE_PATH}:getDICOMStoreMetrics")
        return int(metrics.get("instanceCount", 0))

    def check(self, instances: int) -> None:
        """Raise RuntimeError unless the store has so many instances."""
        if (stored := self.stored()) != instances:
            raise RuntimeError(f"the store has {stored} of {instances} instances")


def _contender(subject: str, load: Load | None) -> Contender:
    if subject == CURL:
        assert load is not None
        return Curl(load)
    makers: Mapping[str, Callable[[], Contender]] = {
        PLUGIN: PluginJobs,
        PLUGIN_8: lambda: PluginJobs(8),
        CLIENT: DicomwebClient,
        CLIENT_8: lambda: DicomwebClient(8),
        WORKER: CustodyWorker,
        WITHOUT_MD5: CustodyWorker,
        SAMPLE: lambda: CustodyWorker(account={"Verify": "Sample"}),
        ALL_BYTES: lambda: CustodyWorker(account={"Verify": "Bytes"}),
    }
    return makers[subject]()


def _orthanc(folder: Path, contender: Contender, destination: Destination) -> Orthanc:
    """Orthanc with the plugins that a contender needs."""
    configuration = contender.configuration(destination)
    if contender.sends_by_itself:
        return Orthanc(
            folder, configuration, plugins=(DICOMWEB, PYTHON), python_script=script.text()
        )
    return Orthanc(folder, configuration, plugins=(DICOMWEB,), python_script="")


def _forget_md5(orthanc: Orthanc) -> None:
    """As if it had received all with ``StoreMD5ForAttachments`` off: there is no MD5 to compare."""
    with closing(sqlite3.connect(orthanc.folder / "storage" / "index")) as index:
        index.execute("UPDATE AttachedFiles SET uncompressedMD5 = '', compressedMD5 = ''")
        index.commit()
