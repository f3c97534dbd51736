"""What the ledger costs for an instance from its arrival to its confirmation, without transfers.

With more rows in it, and with more workers on one PostgreSQL, an instance should cost no more.
"""

from __future__ import annotations

import multiprocessing
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.frame import Figure, Figures, Measurement, Round
from orthanc_gcp.ledger import database
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import NewTransfer, Outcome
from orthanc_gcp.ledger.schema import State, transfers
from orthanc_gcp.ledger.upgrade import prepare
from tests.support.postgres import Postgres

__all__ = ["measurements"]

ROWS = (1_000, 10_000, 100_000, 1_000_000)
WORKERS = (1, 2, 4)
MEASURED = 6_000
BATCH, PAGE, IN_SERIES = 500, 1000, 100
ACCOUNT, SOURCE = "google", "orthanc"
_PORTION = 20_000

CPU = Figure("cpu", "Processor time of the workers for an instance", "µs")
TIME = Figure("time", "Time for an instance", "µs")


def measurements() -> Iterator[Measurement]:
    """Ledgers that fill up, on SQLite and on PostgreSQL, and workers that share one."""
    for kind, open_database in (("sqlite", _sqlite), ("postgresql", _postgresql)):
        yield _measurement(
            f"custody-ledger-{kind}",
            f"A ledger that fills up ({kind})",
            [f"{rows:,} rows" for rows in ROWS],
            partial(_filling, open_database),
        )
    yield _measurement(
        "custody-workers",
        "Workers that share a ledger",
        [f"{number} workers" for number in WORKERS],
        _sharing,
    )


def _measurement(
    name: str, title: str, subjects: Sequence[str], take: Callable[[Sequence[str]], Round]
) -> Measurement:
    # The same ledger grows from subject to subject: no round can be taken backwards.
    return Measurement(name, title, subjects, (CPU, TIME), lambda _: take(subjects), pairs=3)


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
            _fill(ledger, filled, rows)
            _pass_through(ledger, rows, MEASURED // 6)  # warms up
            taken[subject] = _timed(ledger, rows + MEASURED // 6)
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
    for start in range(first, first + number, PAGE):
        last = min(start + PAGE, first + number)
        ledger.arrivals.record([_arrival(index, source) for index in range(start, last)])
    while True:
        batch = uuid.uuid4().hex
        rows = ledger.queue.claim(
            ACCOUNT,
            source,
            batch,
            source,
            most_instances=BATCH,
            most_bytes=1 << 40,
            most_batches=64,
        )
        if not rows:
            return
        ledger.queue.settle(
            batch, [Outcome(row.id, State.ACKNOWLEDGED, sha256="a" * 64) for row in rows]
        )
        for series in ledger.confirmations.readable(ACCOUNT, {row.series: 0 for row in rows}):
            ledger.confirmations.confirm(
                {row.id: ledger.now() for row in ledger.confirmations.acknowledged(ACCOUNT, series)}
            )
        ledger.queue.requeue_due(ACCOUNT)
        ledger.confirmations.due(ACCOUNT)


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


def _fill(ledger: Ledger, first: int, last: int) -> None:
    """Instances that were confirmed long ago."""
    with ledger.writing() as connection:
        ids = ledger.destinations.of(connection, [ACCOUNT])
    done = {
        "destination_id": ids[ACCOUNT],
        "state": State.CONFIRMED,
        "sha256": "a" * 64,
        "attempts": 1,
        "replace": False,
        "queued_at": 0.0,
    }
    names = set(transfers.c.keys())
    for start in range(first, last, _PORTION):
        rows = [_arrival(index, SOURCE) for index in range(start, min(start + _PORTION, last))]
        with ledger.writing() as connection:
            connection.execute(
                transfers.insert(),
                [
                    {name: getattr(row, name) for name in row.__slots__ if name in names} | done
                    for row in rows
                ],
            )
