"""How fast instances that Orthanc holds come to be in a DICOM store, and at what cost in memory.

Each subject of a round gets a fresh Orthanc that holds the workload already, a fresh emulator, and
a link to it. Afterwards the store must have every instance, whatever the subject says.
A subject that gives up has no time, but a number of instances that are missing.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory

from bench.contenders import (
    Contender,
    Curl,
    Destination,
    DicomwebClient,
    PluginJobs,
    TransferError,
)
from bench.custody_rows import (
    ALL_BYTES,
    BEFORE,
    CLIENT,
    CLIENT_8,
    CLIENT_20,
    CONNECTIONS,
    CURL,
    P95,
    PLUGIN,
    PLUGIN_8,
    PLUGIN_20,
    QUOTA,
    ROWS,
    SAMPLE,
    SUBJECTS,
    WAITS,
    WIRE,
    WITHOUT_MD5,
    WORKER,
    Row,
)
from bench.custody_worker import CustodyWorker
from bench.frame import Figures, Measurement, Round
from bench.machine import peak_memory_mb
from bench.network import Network, Proxy
from bench.timeline import LEGEND, Timeline
from bench.traffic import recorded
from bench.workload import Load, instances, prepare, upload
from tests.support.certificates import Authority
from tests.support.emulator import STORE_PATH, Emulator
from tests.support.orthanc import DICOMWEB, PYTHON, Orthanc

__all__ = ["Options", "linked", "measurements"]

COMPUTED = (WIRE, QUOTA)
PAUSE = 1.0  # between the studies that arrive live
MOST_KEPT = 200_000_000
MEMORY = Path("/dev/shm")
"""Bytes of a workload whose rounds leave their files until the last one.

For minutes after a file was deleted, ext4 passes over its inode at each new one: a store of many
small files would take 0.3 ms for each because of the round before, and 0.01 ms without it.
"""


@dataclass(frozen=True)
class Options:
    """How rows are to be measured, where it is not as they say.

    Attributes
    ----------
    scale : float
        Of the workload.
    subjects : sequence of str
        Of those that a row has, the ones to measure.
    network : Network, optional
        In place of a row's own.
    before : Path, optional
        The checkout of another commit, with its own ``.venv``.
    timeline : bool
        Whether the requests of each transfer are shown when it is over.
    """

    scale: float = 1.0
    subjects: Sequence[str] = tuple(SUBJECTS.values())
    network: Network | None = None
    before: Path | None = None
    timeline: bool = False

    @property
    def chosen(self) -> Sequence[str]:
        """The subjects that can be measured."""
        without = (BEFORE,) if self.before is None else ()
        return [name for name in self.subjects if name not in without]

    @property
    def is_as_written(self) -> bool:
        """Whether the results are those that the guide's page shows."""
        return self.scale == 1 and self.network is None


def measurements(
    folder: Path, rows: Sequence[int], options: Options | None = None
) -> Iterator[Measurement]:
    """Measurements of some rows, each to be taken before the next one: a load is made for each."""
    options = options or Options()
    for row in (row for number in rows for row in ROWS[number]):
        chosen = [name for name in row.subjects if name in options.chosen]
        lacks_its_baseline = BEFORE in row.subjects and BEFORE not in chosen
        if chosen and not lacks_its_baseline:
            with _scene(folder / row.name, row, options) as scene:
                take = scene.live if P95 in row.figures else scene.transfer
                yield _measurement(row, chosen, take, scene.requests)


def _measurement(
    row: Row,
    subjects: Sequence[str],
    take: Callable[[str], Figures],
    requests: Callable[[], str],
) -> Measurement:
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
        appendix=requests,
    )


@contextmanager
def _scene(folder: Path, row: Row, options: Options) -> Iterator[Scene]:
    try:
        yield Scene(folder, row, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Scene:
    """A row's load, which is made when it is first needed, and the folders of its rounds."""

    def __init__(self, folder: Path, row: Row, options: Options) -> None:
        self._folder, self._row, self._options = folder, row, options
        self._workload = row.workload.scaled(options.scale)
        self._network = options.network or row.network
        self._numbers = count()
        self._load: Load | None = None
        self._timelines: dict[str, list[Timeline]] = {}

    def transfer(self, subject: str) -> Figures:
        """Everything is in Orthanc when the clock starts."""
        load = self._prepared()
        if subject in COMPUTED:
            return {"seconds": _computed(subject, load.bytes, self._network)}
        contender = self._contender(subject, load)
        with self._stage(contender, load) as stage:
            if subject == WITHOUT_MD5:
                _forget_md5(stage.orthanc)
            figures = self._timed(contender, stage, load)
            figures |= self._observed(subject, stage)
            figures["orthanc"] = peak_memory_mb(stage.orthanc.pid)
            if isinstance(contender, CustodyWorker):
                figures |= contender.figures()
                for name in ("cpu", "orthanc_cpu"):
                    figures[f"{name}_each"] = figures[name] / load.total * 1e6
            memory = contender.peak_memory()
            return figures if memory is None else {**figures, "sender": memory}

    def _timed(self, contender: Contender, stage: Stage, load: Load) -> Figures:
        self._begin(contender, stage)
        with stage.clock():
            try:
                contender.send(load.studies)
                contender.wait_until_confirmed(load.total)
            except TransferError as error:
                print(f"{self._row.name}: {error}", file=sys.stderr, flush=True)
                return {"missing": load.total - stage.stored()}
        stage.check(load.total)
        return {"seconds": stage.seconds}

    @staticmethod
    def _begin(contender: Contender, stage: Stage) -> None:
        stage.orthanc.start()
        contender.start(stage.orthanc, stage.destination)
        if isinstance(contender, CustodyWorker):
            contender.wait_until_quiet()

    def live(self, subject: str) -> Figures:
        """Studies come one after the other; each is told to the contender when it is complete."""
        contender = self._contender(subject, None)
        with self._stage(contender, None) as stage:
            self._begin(contender, stage)
            contender.wait_until_confirmed(0)
            times = list(self._arrivals(contender, stage))
            stage.check(self._workload.total)
            self._observed(subject, stage)
        cuts = quantiles(times, n=20, method="inclusive") if len(times) > 1 else times
        return {"median": cuts[len(cuts) // 2], "p95": cuts[-1]}

    def _arrivals(self, contender: Contender, stage: Stage) -> Iterator[float]:
        total = 0
        for study in instances(self._workload):
            with stage.clock():
                # Orthanc ends a connection after a second without a request.
                with closing(
                    HTTPConnection("127.0.0.1", stage.orthanc.port, timeout=60)
                ) as connection:
                    stored = [upload(connection, head, pixels) for head, pixels in study]
                received = time.monotonic()
                total += len(stored)
                if not contender.sends_by_itself:
                    contender.send({stored[0]["ParentStudy"]: [answer["ID"] for answer in stored]})
                contender.wait_until_confirmed(total)
            yield stage.ended - received
            time.sleep(PAUSE)

    def _observed(self, subject: str, stage: Stage) -> Figures:
        """What was seen of the requests of a transfer, or of the last one of several."""
        if stage.traffic is None:
            return {}
        timeline = Timeline(recorded(stage.traffic), stage.began, stage.ended)
        self._timelines.setdefault(subject, []).append(timeline)
        if self._options.timeline:
            print(f"{self._row.name}, {subject}, {self._network}")
            print(timeline.text(self._network), LEGEND, sep="\n", end="\n\n", flush=True)
        return {
            "refused": 100 * timeline.refused,
            "connections": timeline.most_connections,
        }

    def requests(self) -> str:
        """The requests of the worker in a picture, and of the others in words, in Markdown."""
        medians = {name: _median(taken) for name, taken in self._timelines.items()}
        if WORKER not in medians:
            return ""
        overviews = (
            f"- {name}: {timeline.overview(self._network)}" for name, timeline in medians.items()
        )
        return "\n".join(
            (
                f"The requests of {WORKER} in its median round:",
                *("", "```text", medians[WORKER].text(self._network), "```"),
                *("", "All in their median rounds:", "", *overviews),
            )
        )

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
        folder.mkdir(parents=True)
        with ExitStack() as stack:
            if self._workload.bytes > MOST_KEPT:
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
            store = stack.enter_context(_store_folder(folder, self._network))
            emulator = Emulator(store, *_quota(self._network, folder))
            stack.callback(emulator.kill)
            is_observed = self._options.timeline or bool(self._network.first_byte)
            traffic = folder / "traffic" if is_observed else None
            destination = stack.enter_context(linked(emulator, self._network, folder, traffic))
            orthanc = _orthanc(folder / "orthanc", contender, destination)
            if load is not None:
                load.copy(orthanc.folder)
            stack.callback(orthanc.stop)
            stack.callback(contender.stop)
            yield Stage(emulator, destination, orthanc, traffic, self._network.quota is not None)

    def _contender(self, subject: str, load: Load | None) -> Contender:
        if subject == CURL:
            assert load is not None
            return Curl(load)
        makers: Mapping[str, Callable[[], Contender]] = {
            PLUGIN: PluginJobs,
            PLUGIN_8: lambda: PluginJobs(8),
            PLUGIN_20: lambda: PluginJobs(20),
            CLIENT: DicomwebClient,
            CLIENT_8: lambda: DicomwebClient(8),
            CLIENT_20: lambda: DicomwebClient(20),
            WORKER: CustodyWorker,
            WITHOUT_MD5: CustodyWorker,
            SAMPLE: lambda: CustodyWorker(account={"Verify": "Sample"}),
            ALL_BYTES: lambda: CustodyWorker(account={"Verify": "Bytes"}),
            BEFORE: lambda: CustodyWorker(checkout=self._options.before),
        }
        return makers[subject]()


@dataclass
class Stage:
    """Where one contender transfers, when it did so last, and the file of its requests."""

    emulator: Emulator
    destination: Destination
    orthanc: Orthanc
    traffic: Path | None = None
    has_quota: bool = False
    began: float = field(default=0.0, init=False)
    ended: float = field(default=0.0, init=False)

    @contextmanager
    def clock(self) -> Iterator[None]:
        """Take the time of what is done inside, by the monotonic clock."""
        self.began = time.monotonic()
        try:
            yield
        finally:
            self.ended = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long the transfer took."""
        return self.ended - self.began

    def stored(self) -> int:
        """How many instances the store has; from then on, no quota is left to refuse that."""
        if self.has_quota:
            self.emulator.switch(quota=None)
        metrics = self.emulator.call("GET", f"{STORE_PATH}:getDICOMStoreMetrics")
        return int(metrics.get("instanceCount", 0))

    def check(self, instances: int) -> None:
        """Raise RuntimeError unless the store has so many instances."""
        if (stored := self.stored()) != instances:
            raise RuntimeError(f"the store has {stored} of {instances} instances")


def _computed(subject: str, size: int, network: Network) -> float:
    """How long something takes that has no losses of its own."""
    if subject == WIRE:
        rate = CONNECTIONS * network.bandwidth
        return (size / rate if rate else 0.0) + WAITS * network.wait
    quota = network.quota_bytes
    return max(0, size - quota) / quota if quota else 0.0  # a second's worth is there at once


def _median(timelines: Sequence[Timeline]) -> Timeline:
    """The one that took as long as half of them at least."""
    ordered = sorted(timelines, key=lambda timeline: timeline.ended - timeline.began)
    return ordered[(len(ordered) - 1) // 2]


def _quota(network: Network, folder: Path) -> tuple[str, ...]:
    """The options of an emulator that has a network's quota."""
    if network.quota is None:
        return ()
    profile = folder / "network.json"
    profile.write_text(json.dumps({"quota": network.quota}))
    return "--admin", "--network", str(profile)


@contextmanager
def linked(
    emulator: Emulator, network: Network, folder: Path, traffic: Path | None
) -> Iterator[Destination]:
    """An emulator behind a network, with what it takes to be let in."""
    token = emulator.bearer()["Authorization"].removeprefix("Bearer ")
    key = emulator.credentials / "service-account.json"
    if not network.is_shaped and traffic is None:
        yield Destination(emulator.url, token, key)
        return
    authority = Authority(folder) if network.encrypted else None
    certificate = authority.issue("127.0.0.1") if authority else None
    with Proxy(emulator.url, network, traffic, certificate) as proxy:
        if authority is None:  # in HTTPS, the emulator would not know its own address
            document = {**json.loads(key.read_text()), "token_uri": f"{proxy.url}/token"}
            key = folder / "service-account.json"
            key.write_text(json.dumps(document))
        yield Destination(proxy.url, token, key, authority.file if authority else None)


@contextmanager
def _store_folder(folder: Path, network: Network) -> Iterator[Path]:
    """Where the emulator has its files: in memory behind a link, whose pace shall be what bounds.

    Two cores that make files for a gigabyte in seconds have less left for the sender and the link.
    """
    if not network.is_shaped or not MEMORY.is_dir():
        yield folder / "emulator"
        return
    with TemporaryDirectory(dir=MEMORY) as name:
        yield Path(name)


def _orthanc(folder: Path, contender: Contender, destination: Destination) -> Orthanc:
    """Orthanc with the plugins that a contender needs."""
    configuration = contender.configuration(destination)
    if isinstance(contender, CustodyWorker):
        return Orthanc(
            folder,
            configuration,
            plugins=(DICOMWEB, PYTHON),
            python_script=contender.python_script,
            environment=contender.environment,
        )
    return Orthanc(folder, configuration, plugins=(DICOMWEB,), python_script="")


def _forget_md5(orthanc: Orthanc) -> None:
    """As if it had received all with ``StoreMD5ForAttachments`` off: there is no MD5 to compare."""
    with closing(sqlite3.connect(orthanc.folder / "storage" / "index")) as index:
        index.execute("UPDATE AttachedFiles SET uncompressedMD5 = '', compressedMD5 = ''")
        index.commit()
