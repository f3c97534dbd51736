"""Which instances a command is about: one, those of a study, of a reason, of an account."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orthanc_gcp.commands.arguments import fail

if TYPE_CHECKING:
    from orthanc_gcp.ledger.ledger import Ledger
    from orthanc_gcp.ledger.schema import State
    from orthanc_gcp.ledger.selection import Selection

__all__ = ["Choice", "choice_options", "refuse_unknown"]

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_SHOWN = 5
"""So many studies are named to somebody who has named another."""
_WHERE: Mapping[str, str] = {"quarantined": "in quarantine"}
"""States in words, where these are not the same."""


@dataclass(frozen=True)
class Choice:
    """What a command line has chosen; nothing stands for all."""

    account: str | None = None
    study: str | None = None
    instance: str | None = None
    reason: str | None = None
    destination: int | None = None

    @property
    def is_narrow(self) -> bool:
        """Whether it names more than an account or a store."""
        return any((self.study, self.instance, self.reason))

    @property
    def options(self) -> list[str]:
        """The same as it stands in a command line."""
        named = ("account", "study", "instance", "reason", "destination")
        given = {name: getattr(self, name) for name in named}
        return [
            word
            for name, one in given.items()
            if one is not None
            for word in (f"--{name}", str(one))
        ]

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
            account=self.account,
            destination_id=self.destination,
            study_instance_uid=study,
            sop_instance_uid=instance,
            reason=reason,
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


def refuse_unknown(ledger: Ledger, choice: Choice, states: Sequence[State]) -> None:
    """End the command when nothing is there that was named, and say what is.

    Parameters
    ----------
    states
        Where it may be: in quarantine; dismissed; or wherever a retry takes it from.
    """
    if choice.study is not None and not _knows(ledger, Choice(choice.account, choice.study)):
        known = _studies(ledger, choice.account, states[0])
        fail(f"the ledger knows of no study {choice.study}: {_words(states[0])} are {known}")
    if choice.instance is not None and not _knows(ledger, Choice(None, None, choice.instance)):
        fail(f"the ledger knows of no instance {choice.instance}")
    if choice.reason is None:
        return
    there = _states_by_reason(ledger, replace(choice, reason=None), states)
    reasons = {reason for reason, found in there.items() if found & set(states)}
    if choice.reason not in reasons:
        others = there.get(choice.reason, set())
        fail(f"{_nothing(choice, states)}: {_instead(sorted(reasons), sorted(others))}")


def _nothing(choice: Choice, states: Sequence[State]) -> str:
    """That nothing of a choice is in one of the states for its reason."""
    *first, last = map(_words, states)
    where = f"{', '.join(first)} or {last}" if first else last
    said = [
        f"{noun} {name}"
        for noun, name in (("instance", choice.instance), ("study", choice.study))
        if name is not None
    ]
    of = f" of {' of '.join(said)}" if said else ""
    return f"nothing{of} is {where} for the reason {choice.reason}"


def _words(state: str) -> str:
    return _WHERE.get(state, state)


def _instead(reasons: Sequence[str], others: Sequence[str]) -> str:
    """What there is for other reasons, and where it is that was named by its reason."""
    expected = f"expected one of {', '.join(reasons)}" if reasons else "there is none"
    if not others:
        return expected
    return f"what has this reason is {' or '.join(map(_words, others))}; {expected}"


def _states_by_reason(
    ledger: Ledger, choice: Choice, states: Sequence[State]
) -> dict[str, set[str]]:
    """In which states there is something of a choice, by the reason why it is there.

    Of a study or an instance all states are looked at, otherwise those that are asked for: most
    rows of a ledger are confirmed.
    """
    import sqlalchemy as sql

    from orthanc_gcp.ledger.schema import transfers

    of, found = transfers.c, defaultdict[str, set[str]](set)
    where = [*choice.selection.conditions, of.reason.is_not(None)]
    if choice.study is None and choice.instance is None:
        where.append(of.state.in_(states))
    query = sql.select(of.reason, of.state).distinct().where(*where)
    with ledger.reading() as connection:
        for reason, state in connection.execute(query):
            found[reason].add(state)
    return found


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
