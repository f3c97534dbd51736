"""Which instances a command is about: one, those of a study, of a reason, of an account."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orthanc_gcp.commands.arguments import fail

if TYPE_CHECKING:
    from orthanc_gcp.custody.reporting.quarantine import QuarantineGroup
    from orthanc_gcp.ledger.ledger import Ledger
    from orthanc_gcp.ledger.schema import State
    from orthanc_gcp.ledger.selection import Selection

__all__ = ["Choice", "choice_options", "refuse_unknown"]

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_SHOWN = 5
"""So many studies are named to somebody who has named another."""


@dataclass(frozen=True)
class Choice:
    """What a command line has chosen; nothing stands for all."""

    account: str | None = None
    study: str | None = None
    instance: str | None = None
    reason: str | None = None

    @property
    def is_narrow(self) -> bool:
        """Whether it names more than an account."""
        return any((self.study, self.instance, self.reason))

    @property
    def selection(self) -> Selection:
        """The same for the ledger, which has no UID or reason with what it cannot store."""
        from orthanc_gcp.ledger.selection import Selection
        from orthanc_gcp.ledger.uids import storable

        study, instance, reason = (
            None if one is None else storable(one)
            for one in (self.study, self.instance, self.reason)
        )
        return Selection(
            account=self.account, study_instance_uid=study, sop_instance_uid=instance, reason=reason
        )


def choice_options(command: Decorated) -> Decorated:
    """The options by which a command chooses instances."""
    for option in (
        click.option("--reason", metavar="REASON", help="Only what is there for this reason."),
        click.option("--instance", metavar="UID", help="Only this SOP Instance UID."),
        click.option("--study", metavar="UID", help="Only of this Study Instance UID."),
        click.option("--account", metavar="NAME", help="Only to this account."),
    ):
        command = option(command)
    return command


def refuse_unknown(ledger: Ledger, choice: Choice, state: State) -> None:
    """End the command when nothing is there that was named, and say what is.

    Parameters
    ----------
    state
        Where it was to be: in quarantine, or dismissed.
    """
    from orthanc_gcp.custody.reporting.quarantine import quarantine
    from orthanc_gcp.ledger.selection import Selection

    there = quarantine(ledger, Selection(account=choice.account), state)
    where = "in quarantine" if state == "quarantined" else state
    if choice.reason is not None and choice.reason not in {one.reason for one in there}:
        fail(f"nothing is {where} for the reason {choice.reason}: {_reasons(there)}")
    if choice.study is not None and not _knows(ledger, Choice(choice.account, choice.study)):
        known = _studies(ledger, choice.account, state)
        fail(f"the ledger knows of no study {choice.study}: {where} are {known}")
    if choice.instance is not None and not _knows(ledger, Choice(None, None, choice.instance)):
        fail(f"the ledger knows of no instance {choice.instance}")


def _reasons(there: Iterable[QuarantineGroup]) -> str:
    reasons = sorted({one.reason for one in there if one.reason})
    return f"expected one of {', '.join(reasons)}" if reasons else "there is none"


def _knows(ledger: Ledger, choice: Choice) -> bool:
    from orthanc_gcp.custody.reporting.instances import instances

    return bool(instances(ledger, choice.selection, limit=1).items)


def _studies(ledger: Ledger, account: str | None, state: State) -> str:
    """The first studies of which something is there, in words."""
    import sqlalchemy as sql

    from orthanc_gcp.ledger.schema import transfers
    from orthanc_gcp.ledger.selection import Selection

    uid = transfers.c.study_instance_uid
    where = Selection(account=account, state=state).conditions
    query = sql.select(uid).distinct().where(*where).order_by(uid).limit(_SHOWN + 1)
    with ledger.reading() as connection:
        found = list(connection.scalars(query))
    more = " and others" if len(found) > _SHOWN else ""
    return f"{', '.join(found[:_SHOWN])}{more}" if found else "none"
