"""The ledger that Orthanc's configuration names, opened for a command."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from orthanc_gcp.commands.arguments import fail
from orthanc_gcp.errors import GcpError

if TYPE_CHECKING:
    from orthanc_gcp.configuration import Settings
    from orthanc_gcp.custody.reporting.standstill import Standstill
    from orthanc_gcp.ledger.ledger import Ledger

__all__ = ["known_account", "open_ledger", "refuse_unknown_account", "standstill_of", "waits_for"]


@contextmanager
def open_ledger(settings: Settings) -> Iterator[Ledger]:
    """The ledger; ends the command when it cannot be used, or its database goes away."""
    from sqlalchemy.exc import SQLAlchemyError

    from orthanc_gcp.ledger import database
    from orthanc_gcp.ledger.destinations import stores_of
    from orthanc_gcp.ledger.ledger import Ledger
    from orthanc_gcp.ledger.upgrade import require_current

    try:
        engine = database.connect(database.url_for(settings))
    except GcpError as error:
        fail(str(error))
    try:
        try:
            require_current(engine)
        except GcpError as error:
            fail(str(error))
        yield Ledger(engine, stores=stores_of(settings))
    except PermissionError as error:
        fail(f"{error.filename} belongs to another user: be the one that Orthanc runs as")
    except SQLAlchemyError as error:
        words = database.words_of(error)
        fail(f"the ledger cannot be reached at {database.place(engine)}: {words}")
    finally:
        engine.dispose()


def standstill_of(ledger: Ledger, settings: Settings) -> Standstill:
    """What says why instances are not done yet, as far as the ledger and a configuration tell."""
    from orthanc_gcp.clock import SystemClock
    from orthanc_gcp.custody.reporting.overview import delays
    from orthanc_gcp.custody.reporting.standstill import Standstill
    from orthanc_gcp.ledger.workers import any_alive

    return Standstill(
        ledger,
        settings,
        lambda: delays(ledger, [one.name for one in settings.accounts]),
        lambda: any_alive(ledger.engine),
        lambda: SystemClock().utc().astimezone(),
    )


def waits_for(ledger: Ledger, settings: Settings) -> Callable[[int], str | None]:
    """Says of a row of the ledger why it is where it is."""
    standstill = standstill_of(ledger, settings)
    return lambda row: standstill.of([row]).get(row)


def refuse_unknown_account(name: str | None, known: Collection[str]) -> None:
    """End the command when an account was named that there is not."""
    if name is not None and name not in known:
        wanted = f"expected one of {', '.join(sorted(known))}" if known else "there is none"
        fail(f"there is no account {name}: {wanted}")


def known_account(ledger: Ledger, settings: Settings, name: str | None) -> None:
    """End the command when neither the ledger nor the configuration knows an account."""
    if name is None:
        return
    from orthanc_gcp.custody.reporting.overview import Overview

    known = Overview(ledger).accounts(one.name for one in settings.accounts)
    refuse_unknown_account(name, [one.account for one in known])
