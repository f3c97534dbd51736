"""What the rules make of instances, and what becomes of those that Orthanc cannot read just now."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orthanc_gcp.clock import Clock
from orthanc_gcp.custody.intake.loop_guard import LoopGuard
from orthanc_gcp.custody.intake.rules import Rules
from orthanc_gcp.errors import OrthancError, OrthancGoneError, OrthancRefusedError
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import NewTransfer
from orthanc_gcp.ledger.schema import Priority
from orthanc_gcp.orthanc.resources import Description, OrthancSource

__all__ = [
    "MOST_UNREADABLE",
    "RETRY_SHARE",
    "Selection",
    "Selector",
    "TooManyUnreadableError",
    "Unreadable",
    "remember_unreadable",
]

_log = logging.getLogger(__name__)

MOST_UNREADABLE, UNREADABLE_AT_ONCE = 1000, 200
"""So many instances may wait for Orthanc to be able to read them; with more, nothing goes on. And
so many are tried in one sweep."""
RETRY_FOR, RETRY_SHARE = 1.0, 10
"""Seconds after which no other one is tried in a sweep; and none for so many times as long."""
_SHOWN = 5
"""So many of them are named in a message."""


class TooManyUnreadableError(OrthancError):
    """Orthanc has to be mended before any more of it is read."""


@dataclass(frozen=True)
class Selection:
    """What some instances make for the ledger.

    Attributes
    ----------
    wanted
        Those that a rule wants, or may want as soon as their attributes can be read.
    unreadable
        Those whose attributes cannot be read, by Orthanc's identifiers.
    gone
        Those that Orthanc does not have any more.
    """

    arrivals: tuple[NewTransfer, ...]
    wanted: tuple[Description, ...]
    unreadable: tuple[str, ...]
    gone: tuple[str, ...]


class Selector:
    """Applies rules to instances as Orthanc describes them."""

    def __init__(self, ledger: Ledger, orthanc: OrthancSource, rules: Rules) -> None:
        self._orthanc, self._rules = orthanc, rules
        self._guard = LoopGuard(ledger, orthanc)

    def select(
        self,
        source: str,
        resources: Sequence[str],
        change: Callable[[str], int | None] = lambda _: None,
        since: int = 0,
    ) -> Selection:
        """What some instances of an index make for the ledger, in their order.

        Parameters
        ----------
        change
            The number of the change that has reported one; None where none did.
        since
            Only those that Orthanc has received from then on, in whole UTC seconds.

        Raises
        ------
        OrthancError
            Orthanc cannot be read from just now.
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        arrivals: list[NewTransfer] = []
        wanted: list[Description] = []
        found, unreadable = self._orthanc.describe_each(resources, since)
        described = {one.orthanc_id: one for one in found}
        for one in (described[name] for name in resources if name in described):
            own = self._arrivals_of(source, one, change(one.orthanc_id) or 0)
            if own is None:
                unreadable.append(one.orthanc_id)
            arrivals += own or ()
            if own or own is None:
                wanted.append(one)
        gone = set(resources) - described.keys() - set(unreadable)
        arrivals = self._guard.recognize(arrivals)
        not_needed = _retrieved_only(arrivals)
        wanted = [one for one in wanted if one.orthanc_id not in not_needed]
        return Selection(tuple(arrivals), tuple(wanted), tuple(unreadable), tuple(gone))

    def _arrivals_of(self, source: str, one: Description, change: int) -> list[NewTransfer] | None:
        """What the rules make of an instance; None where its attributes cannot be read now."""
        try:
            return list(self._rules.arrivals(source, one, change, Priority.LIVE))
        except (OrthancGoneError, OrthancRefusedError):  # it is there, but not its file
            return None


def remember_unreadable(ledger: Ledger, source: str, unreadable: Sequence[str], most: int) -> None:
    """Leave it to the follower to apply the rules to some instances when Orthanc can read them.

    Parameters
    ----------
    most
        So many may wait for that.

    Raises
    ------
    TooManyUnreadableError
        There is no room for them, until others can be read.
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    known = {*ledger.arrivals.unreadable(source), *unreadable}
    if len(known) > most:
        raise TooManyUnreadableError("Orthanc cannot read what it has stored")
    ledger.arrivals.change_unreadable(source, unreadable)


class Unreadable:
    """Instances that no rule can be applied to yet: they hold up nobody, and are tried again.

    Every method raises OrthancError when Orthanc cannot be read from just now, and SQLAlchemyError
    when the ledger is away.
    """

    def __init__(self, ledger: Ledger, clock: Clock, rules: Rules, selector: Selector) -> None:
        self._ledger, self._clock = ledger, clock
        self._rules, self._selector = rules, selector
        self._retry_at = float("-inf")

    def remember(self, source: str, unreadable: Sequence[str]) -> None:
        """Try some instances of an index again later.

        Raises
        ------
        TooManyUnreadableError
            There is no room for them, until others can be read.
        """
        remember_unreadable(self._ledger, source, unreadable, MOST_UNREADABLE)
        _log.error("Orthanc cannot read %d instances: they are tried again", len(unreadable))

    def retry(self, source: str) -> list[Selection]:
        """Try some again, those first that were not for longest; each may take Orthanc long.

        What the rules make of them is written down.
        """
        began = self._clock.now()
        some = self._ledger.arrivals.unreadable(source)[:UNREADABLE_AT_ONCE]
        if not some or began < self._retry_at:
            return []
        found: list[Selection] = []
        try:
            for name in some:
                found.append(self._selector.select(source, [name]))
                if self._clock.now() - began > RETRY_FOR:
                    break
        except OrthancRefusedError:  # all of them, still: what is new goes on
            return []
        now = self._clock.now()
        self._retry_at = now + RETRY_SHARE * (now - began)
        arrivals = [arrival for one in found for arrival in one.arrivals]
        self._ledger.arrivals.record(arrivals, other_versions=True)
        gone = [name for one in found for name in one.gone]
        if gone:
            self._report_gone(source, gone)
        # Others may have been added meanwhile, by a backfill.
        unreadable = [name for one in found for name in one.unreadable]
        self._ledger.arrivals.change_unreadable(source, unreadable, some[: len(found)])
        return found

    def _report_gone(self, source: str, gone: Sequence[str]) -> None:
        words = (
            f"{len(gone)} instances of Orthanc {source}, which it could not read, are not "
            f"there any more ({', '.join(gone[:_SHOWN])}): whether a rule wants them is not known"
        )
        _log.error("%s", words)
        self._ledger.events.add_to_each(self._rules.accounts, "changes missing", words)


def _retrieved_only(arrivals: Sequence[NewTransfer]) -> set[str]:
    """The instances that no store is to be sent: those that want them have them."""
    retrieved = {one.orthanc_id for one in arrivals if one.retrieved_sha256 is not None}
    return retrieved - {one.orthanc_id for one in arrivals if one.retrieved_sha256 is None}
