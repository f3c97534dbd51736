"""What waits in the ledger of an Orthanc that has no rule any more, and so no worker.

Whether something is to be retrieved is said, too. What a worker has protected from Orthanc's
recycling is released: nobody would do it later.

Run by the connector as a process of its own, which may take its time: Orthanc's Python has neither
the libraries of the ledger nor the time for them. It reads a :class:`WorkerInput` from standard
input and answers with one line of JSON, the problems that there are.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sql
from sqlalchemy.exc import SQLAlchemyError

from orthanc_gcp import configuration
from orthanc_gcp.clock import SystemClock
from orthanc_gcp.custody.intake.identity import Match, recognize
from orthanc_gcp.custody.intake.patients import Patients
from orthanc_gcp.custody.intake.protection import release
from orthanc_gcp.custody.reporting.problems import Problem, without_worker
from orthanc_gcp.errors import GcpError, LedgerError, OrthancError
from orthanc_gcp.ledger import database
from orthanc_gcp.ledger.destinations import stores_of
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.upgrade import require_current
from orthanc_gcp.ledger.workers import WorkerRegistry, any_alive, running, worker_registry
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.reasons import LedgerReason
from orthanc_gcp.worker.handshake import WorkerInput

__all__ = ["main"]

_TRIES = (0.0, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each try to reach an Orthanc that is starting."""


def main() -> int:
    """Answer what was asked; the exit code, 1 if the ledger cannot be asked just now."""
    given = WorkerInput.of_line(sys.stdin.buffer.readline())
    try:
        settings = configuration.read(given.configuration, given.folder)
        _release(settings, given)
        found = [one.as_json() for one in _waiting(settings)]
        if _retrieves(settings):
            found.append({"Kind": "retrieval"})
    except (GcpError, SQLAlchemyError, OSError) as error:
        sys.stderr.write(f"{type(error).__name__}: {database.words_of(error)}\n")
        return 1
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


def _release(settings: configuration.Settings, given: WorkerInput) -> None:
    """Release what is protected, unless a worker follows the index; Orthanc may have to start.

    Where a rule has a mistake in it, it waits for that rule.
    """
    is_waited_for = settings.protects and settings.rule_problems
    if not given.orthanc or is_waited_for:
        return
    engine = database.connect(database.url_for(settings))
    rest = OrthancRest(
        given.orthanc, authorization=given.authorization, fingerprint=given.fingerprint
    )
    registry = worker_registry(engine, f"{given.name}:release", SystemClock())
    try:
        require_current(engine)
        ledger = Ledger(engine, stores=stores_of(settings))
        if not Patients(ledger).known():
            return
        registry.reserve()
        registry.join()
        orthanc = OrthancSource(rest, settings.storage_folder)
        _release_by(ledger, orthanc, registry)
    except LedgerError:  # there is none, or a worker uses it, which does it itself
        return
    finally:
        registry.leave()
        engine.dispose()


def _release_by(ledger: Ledger, orthanc: OrthancSource, registry: WorkerRegistry) -> None:
    for pause in _TRIES:
        time.sleep(pause)
        try:
            found = recognize(ledger, orthanc, orthanc.name())
            if found is None or found[0] <= Match.RESTORED:
                return
            source = found[1].source
            if any(one.source == source for one in running(ledger.engine)):
                return  # it may have let the index go for a while
            registry.refresh(source)
            if registry.follows(source):
                release(ledger, orthanc, source, SystemClock())
        except OrthancError:
            continue
        return


def _waiting(settings: configuration.Settings) -> list[Problem]:
    """What waits, unless a worker that was started by hand sends it."""
    with _ledger(settings) as ledger:
        if ledger is None:
            return []
        accounts = [one.name for one in settings.accounts]
        return without_worker(ledger, accounts, settings.rejections, settings.rules)


def _retrieves(settings: configuration.Settings) -> bool:
    """Whether anything is to be retrieved, and no worker does it."""
    with _ledger(settings) as ledger:
        return ledger is not None and (
            ledger.retrievals.any_open() or ledger.prefetches.any_demanded()
        )


@contextmanager
def _ledger(settings: configuration.Settings) -> Iterator[Ledger | None]:
    """The ledger that nobody works on; None where there is none, or somebody does."""
    engine = database.connect(database.url_for(settings))
    try:
        yield None if _is_none(engine) or any_alive(engine) else _of(engine, settings)
    finally:
        engine.dispose()


def _of(engine: sql.Engine, settings: configuration.Settings) -> Ledger:
    return Ledger(engine, stores=stores_of(settings))


def _is_none(engine: sql.Engine) -> bool:
    """Whether there is no ledger at all; what is wrong with one that there is, is raised."""
    try:
        require_current(engine)
    except LedgerError as error:
        if error.reason != LedgerReason.NO_LEDGER:
            raise
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
