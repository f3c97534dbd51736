"""What waits in the ledger of an Orthanc that has no rule any more, and so no worker.

Run by the connector as a process of its own, which may take its time: Orthanc's Python has neither
the libraries of the ledger nor the time for them. It reads a :class:`WorkerInput` from standard
input and answers with one line of JSON, the problems that there are.
"""

from __future__ import annotations

import json
import sys

from sqlalchemy.exc import SQLAlchemyError

from orthanc_gcp import configuration
from orthanc_gcp.custody.reporting.problems import Problem, without_worker
from orthanc_gcp.errors import GcpError, LedgerError
from orthanc_gcp.ledger import database
from orthanc_gcp.ledger.destinations import stores_of
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.upgrade import require_current
from orthanc_gcp.ledger.workers import any_alive
from orthanc_gcp.reasons import LedgerReason
from orthanc_gcp.worker.handshake import WorkerInput

__all__ = ["main"]


def main() -> int:
    """Answer what was asked; the exit code, 1 if the ledger cannot be asked just now."""
    given = WorkerInput.of_line(sys.stdin.buffer.readline())
    try:
        found = _waiting(configuration.read(given.configuration, given.folder))
    except (GcpError, SQLAlchemyError, OSError) as error:
        # What follows the first line of a database's error may be values.
        words = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        sys.stderr.write(f"{type(error).__name__}: {words}\n")
        return 1
    sys.stdout.write(json.dumps([one.as_json() for one in found]) + "\n")
    return 0


def _waiting(settings: configuration.Settings) -> list[Problem]:
    """What waits, unless a worker that was started by hand sends it."""
    engine = database.connect(database.url_for(settings))
    try:
        require_current(engine)
        if any_alive(engine):
            return []
        accounts = [one.name for one in settings.accounts]
        ledger = Ledger(engine, stores=stores_of(settings))
        return without_worker(ledger, accounts, settings.rejections, settings.rules)
    except LedgerError as error:
        if error.reason == LedgerReason.NO_LEDGER:
            return []
        raise
    finally:
        engine.dispose()


if __name__ == "__main__":
    sys.exit(main())
