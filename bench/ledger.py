"""What the ledger costs for an instance from its arrival to its confirmation, without transfers.

With more rows in it, and with more workers on one PostgreSQL, an instance should cost no more. What
is asked for one batch, one page or one study should take no longer with more rows; what counts or
reads all of them may.
"""

from __future__ import annotations

import multiprocessing
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import sqlalchemy as sql

from bench.frame import Figure, Figures, Goal, Measurement, Round
from orthanc_gcp.clock import SystemClock
from orthanc_gcp.custody.reporting.overview import Overview
from orthanc_gcp.custody.reporting.receipts import receipts
from orthanc_gcp.custody.reporting.studies import studies
from orthanc_gcp.ledger import database
from orthanc_gcp.ledger.damage import quarantine_damaged
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import Cursor, NewTransfer, Outcome, Transfer
from orthanc_gcp.ledger.schema import State, transfers
from orthanc_gcp.ledger.selection import Selection
from orthanc_gcp.ledger.upgrade import prepare
from orthanc_gcp.ledger.workers import worker_registry
from tests.support.postgres import Postgres

__all__ = ["ACCOUNT", "BACKLOG", "fill", "measurements"]

ROWS = (10_000, 100_000, 1_000_000)
WORKERS = (1, 2, 4)
MEASURED = 6_000
BATCH, PAGE, IN_SERIES = 500, 1000, 100
COMPARED = 2000
"""Instances of a page when Orthanc is compared with the ledger."""
ACCOUNT, BACKLOG, SOURCE = "google", "backlog", "orthanc"
BACKLOG_SHARE = 10
"""One of so many rows waits to be sent to an account that takes nothing."""
_PORTION = 20_000
_REPEATS = 5

CPU = Figure("cpu", "Processor time of the workers for an instance", "µs")
TIME = Figure("time", "Time for an instance", "µs")
ASKED = (
    Figure("claim", f"A batch of {BATCH} is claimed, while a tenth of all rows waits", "ms", 1),
    Figure("study", "A receipt of a study", "ms", 1),
    Figure("page", "A page of 100 studies with their counts", "ms", 1),
    Figure("comparison", f"A page of {COMPARED:,} instances is compared with it", "ms", 1),
    Figure("overview", "All rows are counted", "ms", 1),
    Figure("start", "A worker opens it when it starts", "ms", 1),
)
MOST_TIMES = 2.0
"""What is about one batch, study or page may take so many times as long with the most rows."""


def measurements() -> Iterator[Measurement]:
    """Ledgers that fill up, on SQLite and on PostgreSQL, and workers that share one."""
    for kind, open_database in (("sqlite", _sqlite), ("postgresql", _postgresql)):
        yield _measurement(
            f"custody-ledger-{kind}",
            f"A ledger that fills up ({kind})",
            [f"{rows:,} rows" for rows in ROWS],
            partial(_filling, open_database),
            ASKED,
        )
    yield _measurement(
        "custody-workers",
        "Workers that share a ledger",
        [f"{number} workers" for number in WORKERS],
        _sharing,
    )


def _measurement(
    name: str,
    title: str,
    subjects: Sequence[str],
    take: Callable[[Sequence[str]], Round],
    asked: Sequence[Figure] = (),
) -> Measurement:
    goals = [
        Goal(figure.key, subjects[-1], MOST_TIMES, "times", (subjects[0],))
        for figure in (CPU, TIME, *asked)
        if asked and figure.key not in ("overview", "start")
    ]
    # The same ledger grows from subject to subject: no round can be taken backwards.
    return Measurement(
        name,
        title,
        subjects,
        (CPU, TIME, *asked),
        lambda _: take(subjects),
        pairs=3,
        goals=tuple(goals),
    )


@contextmanager
def _sqlite() -> Iterator[str]:
    with TemporaryDirectory() as folder:
        yield f"sqlite:///{Path(folder) / database.FILE_NAME}"


@contextmanager
def _postgresql() -> Iterator[str]:
    with ExitStack() as stack:
        server = Postgres()
        stack.callback(server.remove)
        yield database.url_of(server.url, Path())


def _filling(
    open_database: Callable[[], AbstractContextManager[str]], subjects: Sequence[str]
) -> Round:
    taken: Round = {}
    with open_database() as url:
        engine = database.connect(url)
        ledger = Ledger(engine)
        prepare(engine)
        filled = 0
        for subject, rows in zip(subjects, ROWS, strict=True):
            fill(ledger, filled, rows)
            _pass_through(ledger, rows, MEASURED // 6)  # warms up
            taken[subject] = _timed(ledger, rows + MEASURED // 6) | _asked(url, ledger, rows)
            filled = rows + MEASURED // 6 + MEASURED
        engine.dispose()
    return taken


def _sharing(subjects: Sequence[str]) -> Round:
    taken: Round = {}
    with _postgresql() as url:
        engine = database.connect(url)
        prepare(engine)
        engine.dispose()
        processes = multiprocessing.get_context("spawn")
        for subject, number in zip(subjects, WORKERS, strict=True):
            with processes.Pool(number) as pool:
                shares = [
                    (url, f"{subject}-{share}", MEASURED // number) for share in range(number)
                ]
                pool.starmap(_share, [(url, f"warm{name}", 200) for url, name, _ in shares])
                began = time.monotonic()
                cpu = sum(pool.starmap(_share, shares))
                passed = time.monotonic() - began
            taken[subject] = {"cpu": cpu / MEASURED * 1e6, "time": passed / MEASURED * 1e6}
    return taken


def _share(url: str, source: str, instances: int) -> float:
    """What one of several workers does; the processor time that it took."""
    engine = database.connect(url)
    began = time.process_time()
    _pass_through(Ledger(engine), 0, instances, source)
    engine.dispose()
    return time.process_time() - began


def _timed(ledger: Ledger, first: int) -> Figures:
    wall, cpu = time.monotonic(), time.process_time()
    _pass_through(ledger, first, MEASURED)
    return {
        "cpu": (time.process_time() - cpu) / MEASURED * 1e6,
        "time": (time.monotonic() - wall) / MEASURED * 1e6,
    }


def _pass_through(ledger: Ledger, first: int, number: int, source: str = SOURCE) -> None:
    """Everything that the worker asks of the ledger, for so many new instances."""
    cursor = _cursor(ledger, source)
    for start in range(first, first + number, PAGE):
        last = min(start + PAGE, first + number)
        cursor = replace(cursor, seq=last)
        ledger.arrivals.record([_arrival(index, source) for index in range(start, last)], cursor)
    while rows := _claim(ledger, ACCOUNT, batch := uuid.uuid4().hex, source):
        ledger.queue.settle(
            batch, [Outcome(row.id, State.ACKNOWLEDGED, sha256="a" * 64) for row in rows]
        )
        for series in ledger.confirmations.readable(ACCOUNT, {row.series: 0 for row in rows}):
            ledger.confirmations.confirm(
                {row.id: ledger.now() for row in ledger.confirmations.acknowledged(ACCOUNT, series)}
            )
        ledger.queue.requeue_due(ACCOUNT)
        ledger.confirmations.due(ACCOUNT)


def _cursor(ledger: Ledger, source: str) -> Cursor:
    """How far the changes of an index were read; it is followed from now on if it was not."""
    cursor = ledger.indexes.get(source)
    while cursor is None:  # another worker may begin to follow its own meanwhile
        cursor = ledger.indexes.begin(source, 0, 0.0, known=ledger.indexes.all())
    return cursor


def _claim(ledger: Ledger, account: str, batch: str, source: str) -> list[Transfer]:
    return ledger.queue.claim(
        account,
        source,
        batch,
        source,
        most_instances=BATCH,
        most_bytes=1 << 40,
        most_batches=64,
    )


def _asked(url: str, ledger: Ledger, rows: int) -> Figures:
    """How long it takes to ask a ledger with so many rows, in ms."""
    some = [_arrival(index, SOURCE) for index in range(0, rows, max(1, rows // COMPARED))]
    names = [one.orthanc_id for one in some]
    study = some[-1].study_instance_uid

    def claim() -> None:
        assert _claim(ledger, BACKLOG, "batch", SOURCE)

    def receipt() -> None:
        assert receipts(ledger, study, ACCOUNT)[0].complete

    return {
        "claim": _milliseconds(claim, after=lambda: ledger.queue.requeue_batches(["batch"])),
        "study": _milliseconds(receipt),
        "page": _milliseconds(lambda: studies(ledger, Selection(account=ACCOUNT))),
        "comparison": _milliseconds(lambda: ledger.arrivals.known(SOURCE, names)),
        "overview": _milliseconds(lambda: Overview(ledger).accounts()),
        "start": _milliseconds(lambda: _open(url)),
    }


def _milliseconds(
    question: Callable[[], object], after: Callable[[], None] = lambda: None
) -> float:
    """The median of some times that it is asked."""
    times = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        question()
        times.append((time.perf_counter() - began) * 1000)
        after()
    return median(times)


def _open(url: str) -> None:
    """What a worker does with its ledger before it begins to work."""
    engine = database.connect(url)
    prepare(engine)
    quarantine_damaged(engine)
    registry = worker_registry(engine, "worker", SystemClock())
    registry.join()
    registry.leave()
    engine.dispose()


def _arrival(index: int, source: str) -> NewTransfer:
    series = f"1.2.826.0.1.{source}.{index // IN_SERIES}"
    return NewTransfer(
        account=ACCOUNT,
        source=source,
        orthanc_id=f"{index:044d}",
        study_instance_uid=f"{series}.1",
        series_instance_uid=series,
        sop_instance_uid=f"{series}.{index}",
        size_bytes=500_000,
        received_at=0.0,
        attachment_uuid=str(uuid.uuid4()),
        change_seq=index + 1,
    )


def fill(ledger: Ledger, first: int, last: int) -> None:
    """Instances that were confirmed long ago, and some that wait."""
    of = set(transfers.c.keys())
    with ledger.writing() as connection:
        ids = ledger.destinations.of(connection, [ACCOUNT, BACKLOG])
    for start in range(first, last, _PORTION):
        rows = [_row(index, ids) for index in range(start, min(start + _PORTION, last))]
        with ledger.writing() as connection:
            connection.execute(
                transfers.insert(),
                [
                    {name: value for name, value in row.items() if name in of}
                    | {"destination_id": ids[str(row["account"])]}
                    for row in rows
                ],
            )
    _analyze(ledger)


def _analyze(ledger: Ledger) -> None:
    """What PostgreSQL's autovacuum does within a minute of a table that has grown by a tenth."""
    if ledger.engine.dialect.name == "postgresql":
        with ledger.writing() as connection:
            connection.execute(sql.text("ANALYZE"))


def _row(index: int, destinations: Mapping[str, int]) -> dict[str, object]:
    waits = index // IN_SERIES % BACKLOG_SHARE == 0
    account = BACKLOG if waits else ACCOUNT
    row = {**asdict(_arrival(index, SOURCE)), "replace": False, "queued_at": 0.0}
    row |= {"account": account, "destination_id": destinations[account]}
    if waits:
        return {**row, "state": State.WAITING, "attempts": 0, "sha256": None}
    return {**row, "state": State.CONFIRMED, "attempts": 1, "sha256": "a" * 64}
