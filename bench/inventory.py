"""What it costs to compare all that Orthanc has with the ledger, and what arrives meanwhile."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from functools import partial
from http.client import HTTPConnection
from itertools import pairwise
from pathlib import Path
from statistics import linear_regression, median

from bench.contenders import Destination
from bench.custody import PAUSE
from bench.custody_rows import LIVE
from bench.custody_worker import ACCOUNT, CustodyWorker
from bench.frame import Figure, Figures, Goal, Measurement, Round
from bench.machine import cpu_seconds, peak_memory_mb, wait_until_quiet
from bench.workload import Load, Workload, instances, prepare, upload
from orthanc_gcp.clock import SystemClock
from orthanc_gcp.configuration.options import SendRule
from orthanc_gcp.custody.intake.changes import Follower
from orthanc_gcp.custody.intake.identity import mark_of
from orthanc_gcp.custody.intake.rules import Rules
from orthanc_gcp.ledger import database
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import NewTransfer
from orthanc_gcp.ledger.schema import State, transfers
from orthanc_gcp.ledger.upgrade import prepare as prepare_ledger
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.plugin import script
from orthanc_gcp.worker.attempts import IDLE
from orthanc_gcp.worker.worker import ACTIVE
from tests.support.emulator import Emulator
from tests.support.orthanc import DICOMWEB, PYTHON, Orthanc

__all__ = ["extrapolated", "measurements"]

MANY = Workload(1_000, 100, 64)
TOTAL = 1_000_000
MOST_SECONDS, MOST_MEMORY, MOST_SLOWER = 300, 200, 1.1
KNOWN, UNKNOWN = "all in the ledger", "none in the ledger"
ALONE, COMPARED = "nothing is compared", "all is compared, again and again"
NAME = "test/ORTHANC"
"""Of the Orthancs of tests, as the ledger has it."""
QUIET, QUIET_FOR, QUIET_WITHIN = 0.03, 5.0, 600.0
"""Orthanc takes less of a core, for so many seconds, when nothing is compared any more."""
POLL = 0.01

SECONDS = Figure("seconds", f"A comparison of {TOTAL:,} instances, extrapolated", "s", 1)
MEASURED = Figure("measured", "A comparison of those that were there", "s", 1)
CPU = Figure("cpu", "Processor time of the worker for it", "s", 1)
ORTHANC = Figure("orthanc", "Processor time of Orthanc for it", "s", 1)
MEMORY = Figure("memory", "Peak memory of the worker", "MB")
MEDIAN = Figure("median", "Last instance of a study received to study confirmed, median", "s", 3)
MEAN = Figure("mean", "Last instance of a study received to study confirmed, mean", "s", 3)


def measurements(folder: Path, scale: float) -> Iterator[Measurement]:
    """A comparison by itself, and studies that arrive while one runs."""
    scene = _Scene(folder, MANY.scaled(scale), LIVE.scaled(scale))
    try:
        yield Measurement(
            "custody-inventory",
            f"A comparison, measured with {scene.held.total:,} instances",
            [KNOWN, UNKNOWN],
            (SECONDS, MEASURED, CPU, ORTHANC, MEMORY),
            scene.compare,
            pairs=3,
            goals=tuple(
                Goal(figure, subject, most, "value")
                for figure, most in (("seconds", MOST_SECONDS), ("memory", MOST_MEMORY))
                for subject in (KNOWN, UNKNOWN)
            ),
        )
        yield Measurement(
            "custody-live-compared",
            "Studies that arrive while all is compared",
            [ALONE, COMPARED],
            (MEDIAN, MEAN, MEMORY),
            scene.arrive,
            pairs=3,
            goals=(
                Goal("median", COMPARED, MOST_SLOWER, "times", (ALONE,)),
                Goal("memory", COMPARED, MOST_MEMORY, "value"),
            ),
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Scene:
    """An Orthanc that holds much, made when it is first needed; each subject has a copy of it."""

    def __init__(self, folder: Path, held: Workload, arriving: Workload) -> None:
        self.held = held
        self._folder, self._arriving = folder, arriving
        self._load: Load | None = None
        self._ledger = folder / "ledger" / database.FILE_NAME

    # -- A comparison by itself -----------------------------------------------------------------

    def compare(self, order: Sequence[str]) -> Round:
        """Each in a process of its own, as a worker has it."""
        taken: Round = {}
        for subject in order:
            with self._orthanc({}, known=subject == KNOWN) as orthanc:
                began = cpu_seconds(orthanc.pid)
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    figures, rows = pool.apply(_compare, (orthanc.url, orthanc.folder / "storage"))
                assert rows == (self.held.total if subject == KNOWN else 0)
                taken[subject] = {**figures, "orthanc": cpu_seconds(orthanc.pid) - began}
        return taken

    # -- Studies that arrive meanwhile ----------------------------------------------------------

    def arrive(self, order: Sequence[str]) -> Round:
        """Studies come one after the other, each when the one before was confirmed."""
        return {subject: self._arrive(subject == COMPARED) for subject in order}

    def _arrive(self, is_compared: bool) -> Figures:
        section = {"CompareEverySeconds": 1} if is_compared else {}
        contender = CustodyWorker(section=section)
        with ExitStack() as stack:
            emulator = Emulator(self._folder / "emulator")
            stack.callback(shutil.rmtree, emulator.folder)
            stack.callback(emulator.kill)
            key = emulator.credentials / "service-account.json"
            configuration = contender.configuration(Destination(emulator.url, "", key))
            orthanc = stack.enter_context(self._orthanc(configuration, known=True))
            contender.start(orthanc, Destination(emulator.url, "", key))
            if not is_compared:
                wait_until_quiet(partial(cpu_seconds, orthanc.pid), QUIET, QUIET_FOR, QUIET_WITHIN)
            times = list(self._times(orthanc))
            contender.wait_until_confirmed(self.held.total + self._arriving.total)
            memory = contender.peak_memory()
            assert memory is not None
            return {"median": median(times), "mean": sum(times) / len(times), "memory": memory}

    def _times(self, orthanc: Orthanc) -> Iterator[float]:
        total = self.held.total
        ledger = orthanc.folder / "storage" / database.FILE_NAME
        with closing(sqlite3.connect(ledger)) as connection:
            for study in instances(self._arriving):
                # Orthanc ends a connection after a second without a request.
                with closing(HTTPConnection("127.0.0.1", orthanc.port, timeout=60)) as sender:
                    total += len([upload(sender, head, pixels) for head, pixels in study])
                received = time.monotonic()
                while _confirmed_after(connection, self.held.total) < total - self.held.total:
                    time.sleep(POLL)
                yield time.monotonic() - received
                time.sleep(PAUSE)

    # -- The Orthanc ----------------------------------------------------------------------------

    @contextmanager
    def _orthanc(self, configuration: dict[str, object], *, known: bool) -> Iterator[Orthanc]:
        """One that runs and holds everything; in its storage the ledger, if that knows it."""
        load = self._prepared()
        made = _new_orthanc(self._folder / "orthanc", configuration)
        load.copy(made.folder)
        if known:
            shutil.copy(self._ledger, made.folder / "storage")
        try:
            with made:
                yield made
        finally:
            shutil.rmtree(made.folder)

    def _prepared(self) -> Load:
        if self._load is None:
            self._load = prepare(self.held, self._folder / "load", body=False)
            self._ledger.parent.mkdir()
            with _new_orthanc(self._folder / "load", {}) as orthanc:
                _write_down(self._ledger.parent, OrthancSource(OrthancRest(orthanc.url), Path()))
        return self._load


def _new_orthanc(folder: Path, configuration: dict[str, object]) -> Orthanc:
    plugins = (DICOMWEB, PYTHON)
    return Orthanc(folder, configuration, plugins=plugins, python_script=script.text())


def _write_down(folder: Path, orthanc: OrthancSource) -> None:
    """A ledger that has followed this Orthanc since it was empty, and has all of it confirmed."""
    engine = database.connect(database.url_of("", folder))
    prepare_ledger(engine)
    ledger = Ledger(engine)
    newest = orthanc.newest_changes()
    marks = tuple(mark_of(one) for one in reversed(newest))
    cursor = ledger.indexes.begin(NAME, newest[-1].seq, 0.0, marks)
    assert cursor is not None
    names = set(transfers.c.keys())
    with ledger.writing() as connection:
        destination = ledger.destinations.of(connection, [ACCOUNT])[ACCOUNT]
    done = {"state": State.CONFIRMED, "attempts": 1, "replace": False, "queued_at": 0.0}
    done |= {"destination_id": destination}
    seen: set[str] = set()
    for page in orthanc.inventory():
        new = [(one, file) for one, file in page if one not in seen]
        seen.update(one for one, _ in new)
        rows = [asdict(_row(cursor.source, one, file)) for one, file in new]
        if not rows:  # all of a page may be the overlap with the one before
            continue
        with ledger.writing() as connection:
            connection.execute(
                transfers.insert(),
                [{key: row[key] for key in row.keys() & names} | done for row in rows],
            )
    engine.dispose()


def _row(source: str, instance: str, file: str) -> NewTransfer:
    return NewTransfer(
        account=ACCOUNT,
        source=source,
        orthanc_id=instance,
        study_instance_uid="1.2.1",
        series_instance_uid="1.2.2",
        sop_instance_uid=f"1.2.{int(instance.replace('-', ''), 16) % 10**40}",
        size_bytes=1000,
        received_at=0.0,
        attachment_uuid=file,
        change_seq=1,
    )


class _Observed(OrthancSource):
    """Notes when the pages of a comparison are asked for."""

    def __init__(self, orthanc: OrthancRest, storage: Path) -> None:
        super().__init__(orthanc, storage)
        self.moments: list[float] = []
        self.pages: list[int] = []
        self.ended = False

    def inventory(self) -> Iterator[list[tuple[str, str]]]:
        for page in super().inventory():
            self.pages.append(len(page))
            yield page
            self.moments.append(time.monotonic())
        self.ended = True


def _compare(url: str, storage: Path) -> tuple[Figures, int]:
    """Follow an Orthanc as a worker does until all of it was compared; figures, and rows then."""
    engine = database.connect(database.url_of("", storage))
    prepare_ledger(engine)
    ledger = Ledger(engine)
    orthanc = _Observed(OrthancRest(url, timeout=60), storage)
    rules = Rules([SendRule(to=ACCOUNT)], orthanc.attributes)
    follower = Follower(ledger, orthanc, rules, SystemClock(), lambda: None, time.time())
    cpu, began = time.process_time(), time.monotonic()
    while not orthanc.ended:
        time.sleep(ACTIVE if follower.step() else IDLE)
    ends = [began, *orthanc.moments]
    seconds = [end - begin for begin, end in pairwise(ends)]
    figures = {
        "seconds": extrapolated(seconds, orthanc.pages, TOTAL),
        "measured": ends[-1] - began,
        "cpu": time.process_time() - cpu,
        "memory": peak_memory_mb(os.getpid()),
    }
    with closing(sqlite3.connect(storage / database.FILE_NAME)) as connection:
        (rows,) = connection.execute("SELECT count(*) FROM gcp_transfers").fetchone()
    engine.dispose()
    return figures, rows


def extrapolated(seconds: Sequence[float], pages: Sequence[int], total: int) -> float:
    """How long so many instances would take, where each page takes longer than the one before.

    Parameters
    ----------
    seconds, pages
        How long each page took, and how many instances were in it.
    """
    full = max(pages)  # the last one may have few, which share what every page costs
    chosen = [number for number, page in enumerate(pages) if page == full]
    if len(chosen) > 1:
        places = [sum(pages[:number]) + full / 2 for number in chosen]
        growth, first = linear_regression(places, [seconds[number] / full for number in chosen])
        if growth > 0:
            return first * total + growth * total**2 / 2
    return total * sum(seconds) / sum(pages)


def _confirmed_after(connection: sqlite3.Connection, row: int) -> int:
    query = "SELECT count(*) FROM gcp_transfers WHERE id > ? AND state = 'confirmed'"
    (count,) = connection.execute(query, (row,)).fetchone()
    return int(count)
