"""Puts side by side what Orthanc, the ledger and a store say of the instances of one study.

Nothing is asked here, and nothing is written.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass

from orthanc_gcp.custody.audit.findings import Category, Finding, Uids
from orthanc_gcp.custody.verification.read_back import SEARCH_LAG
from orthanc_gcp.ledger.rows import Transfer
from orthanc_gcp.ledger.schema import State
from orthanc_gcp.ledger.versions import Received
from orthanc_gcp.reasons import TransferReason

__all__ = [
    "OVERWRITTEN",
    "SUPERSEDED_UNCONFIRMED",
    "UNREAD",
    "Comparison",
    "Held",
    "Recorded",
    "Scope",
    "Sides",
    "Stored",
    "compare",
    "confirmed",
    "doubtful",
]

_VOID = (State.WITHDRAWN, State.SUPERSEDED, State.DISMISSED)
_GONE = (State.WITHDRAWN, State.LOST)
_BY_A_PERSON = (TransferReason.CLOSED, TransferReason.HANDED_OVER)
_SENT = (State.ACKNOWLEDGED, State.CONFIRMED)
_TO_BE_SENT = (State.HELD, State.WAITING, State.DELAYED, State.SENDING)
_TRANSIENT = frozenset({Category.NOT_IN_LEDGER, Category.MISSING, Category.UNKNOWN})
OVERWRITTEN = "Orthanc has received it anew, and the ledger has not read that yet"
SUPERSEDED_UNCONFIRMED = "the version that another account sends there is not confirmed"
UNREAD = "the store may have other bytes of it, which are still to be read back"


@dataclass(frozen=True, slots=True)
class Held:
    """An instance that Orthanc has.

    Attributes
    ----------
    received_at
        Seconds since 1970, UTC; Orthanc records whole ones.
    accounts
        Where the rules want it; None where Orthanc cannot read what they ask for.
    possible
        Where they may want it then.
    """

    orthanc_id: str
    uids: Uids
    size_bytes: int
    attachment_uuid: str
    received_at: float
    accounts: frozenset[str] | None
    possible: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Recorded:
    """A row of the ledger; ``destination_id`` is its number of the store that it is about."""

    transfer: Transfer
    acknowledged_at: float | None
    change_seq: int
    queued_at: float
    destination_id: int = 0
    confirmed_at: float | None = None

    @property
    def uids(self) -> Uids:
        """The three UIDs of the instance."""
        return Uids(*self.transfer.uids)

    @property
    def is_closed(self) -> bool:
        """Whether a person has said that it is not to be sent, or not from here."""
        transfer = self.transfer
        return transfer.state == State.WITHDRAWN and transfer.reason in _BY_A_PERSON

    @property
    def is_given_up(self) -> bool:
        """Whether it was not in Orthanc any more before it was sent."""
        return self.transfer.state in _GONE and not self.is_closed

    @property
    def sending(self) -> tuple[object, ...] | None:
        """What it shares with no other sending of it, also once it is confirmed; None before."""
        one = self.transfer
        if one.state not in _SENT:
            return None
        return one.id, one.sha256, one.attachment_uuid, self.acknowledged_at or self.confirmed_at

    @property
    def received(self) -> Received:
        """How it came to its Orthanc."""
        one = self.transfer
        return Received(one.source, one.received_at, self.change_seq, one.id, one.reason)

    def is_newer(self, other: Recorded) -> bool:
        """Whether it is of a later version."""
        return self.received.is_later(other.received)

    def is_no_newer(self, other: Recorded) -> bool:
        """Whether it is the same as another version, or was received no later."""
        mine, theirs = self.transfer, other.transfer
        is_same = mine.sha256 is not None and mine.sha256 == theirs.sha256
        return is_same or mine.received_at <= theirs.received_at

    def is_replaced_by(self, other: Recorded) -> bool:
        """Whether another version, which the store has, is in its place there.

        It may have been received earlier: what came from the store itself counts as older.
        """
        was, then = (one.confirmed_at or one.acknowledged_at for one in (self, other))
        is_later = was is not None and then is not None and was < then
        return is_later or self.is_no_newer(other)


@dataclass(frozen=True)
class Scope:
    """What holds for a whole audit.

    Attributes
    ----------
    began
        What Orthanc receives from then on is not looked for, in seconds since 1970, UTC.
    source
        What the ledger calls the index of this Orthanc; None where it does not know it.
    since
        What it has received before that is wanted by no rule; None where all is.
    reads_bytes
        Whether what is found in a store is read as well.
    """

    began: float
    source: str | None = None
    since: float | None = None
    reads_bytes: bool = False


@dataclass(frozen=True)
class Sides:
    """What is put side by side of a study, for one account.

    Attributes
    ----------
    held
        What Orthanc has.
    rows
        Those about the store that the account is by now, as they were before that was asked.
    former
        Those about a store that the account was formerly, and which.
    listed
        What the store lists.
    known
        What the ledger has of that store, for whatever account.
    confirmed
        What is confirmed there for another account.
    """

    account: str
    held: Sequence[Held] = ()
    rows: Sequence[Recorded] = ()
    former: Sequence[tuple[Recorded, str]] = ()
    listed: Set[Uids] = frozenset()
    known: Set[Uids] = frozenset()
    confirmed: Sequence[Recorded] = ()


@dataclass(frozen=True, slots=True)
class Stored:
    """An instance that the store lists, and the row that says so, too.

    Attributes
    ----------
    held
        The same version in Orthanc, where it still has that.
    """

    row: Recorded
    held: Held | None


@dataclass
class Comparison:
    """What came of it, for one account."""

    stored: list[Stored]
    findings: list[Finding]


def compare(sides: Sides, scope: Scope, now: float) -> Comparison:
    """Compare the instances of a study that Orthanc holds, the ledger has, and the store lists.

    Parameters
    ----------
    now
        Seconds since 1970, UTC, when these were read.
    """
    return _Study(sides, scope, now).compare()


class _Study:
    def __init__(self, sides: Sides, scope: Scope, now: float) -> None:
        self._sides, self._listed, self._scope, self._now = sides, sides.listed, scope, now
        self._held = {one.orthanc_id: one for one in sides.held}
        self._mine = self._by_identifier(sides.rows)
        self._rows: dict[Uids, list[Recorded]] = defaultdict(list)
        for row in sides.rows:
            self._rows[row.uids].append(row)
        self._of_accounts: dict[Uids, list[Recorded]] = defaultdict(list)
        for row in sides.confirmed:
            self._of_accounts[row.uids].append(row)
        former = [row for row, _ in sides.former if not row.is_given_up]
        self._formerly_mine = self._by_identifier(former)

    def _by_identifier(self, rows: Iterable[Recorded]) -> dict[str, Recorded]:
        """Those of this Orthanc, by its identifiers."""
        source = self._scope.source
        return {row.transfer.orthanc_id: row for row in rows if row.transfer.source == source}

    def compare(self) -> Comparison:
        found = Comparison([], list(self._unrecorded()))
        for rows in self._rows.values():
            for row in rows:
                found.findings += self._of_row(row)
            found.findings += self._of_others(rows)
            stored = self._in_store(rows)
            if stored is not None:
                row, finding = stored
                if finding is None:
                    found.stored.append(Stored(row, self._same_version(row)))
                else:
                    found.findings.append(finding)
        found.findings += self._in_former_stores()
        known = self._sides.known | self._rows.keys() | {one.uids for one in self._held.values()}
        found.findings += [
            Finding(Category.UNKNOWN, uids, in_store=True) for uids in sorted(self._listed - known)
        ]
        # What is to be sent still, or is in quarantine, is not as it should be.
        owed = {one.uids for one in found.findings if one.differs}
        found.stored = [one for one in found.stored if one.row.uids not in owed]
        return found

    def _unrecorded(self) -> Iterator[Finding]:
        """What Orthanc has and the ledger has not."""
        for one in self._held.values():
            if one.orthanc_id in self._mine or self._is_formerly_mine(one):
                continue
            if one.received_at >= self._scope.began:
                continue
            if one.accounts is None or self._sides.account not in one.accounts:
                continue
            since = self._scope.since
            # Orthanc records whole seconds.
            before = since is not None and one.received_at < int(since)
            category = Category.BEFORE_FOLLOWING if before else Category.NOT_IN_LEDGER
            yield Finding(
                category,
                one.uids,
                one.orthanc_id,
                in_orthanc=True,
                in_store=one.uids in self._listed,
                accounts=one.accounts,
            )

    def _is_formerly_mine(self, one: Held) -> bool:
        """Whether it is written down for a former store; or closed there, and no newer."""
        row = self._formerly_mine.get(one.orthanc_id)
        if row is None or not row.is_closed:
            return row is not None
        return one.received_at <= row.transfer.received_at

    def _in_former_stores(self) -> Iterator[Finding]:
        """What was to be sent to a store that the account is not any more, and to no other.

        Another version stands for it that is for the present store, unless it is older.
        """
        present: dict[Uids, list[Recorded]] = defaultdict(list)
        for row in self._sides.rows:
            if row.transfer.state not in (State.WITHDRAWN, State.DISMISSED):
                present[row.uids].append(row)
        for row, store in self._sides.former:
            transfer = row.transfer
            if transfer.orthanc_id in self._mine and transfer.source == self._scope.source:
                continue
            stand_for_it = map(row.is_no_newer, present.get(row.uids, ()))
            if row.is_closed:
                yield self._finding(Category.WITHDRAWN, row, f"{transfer.reason} in {store}")
            elif transfer.state not in _VOID and not any(stand_for_it):
                there = self._formerly_mine.get(transfer.orthanc_id) is row
                yield Finding(
                    Category.FORMER_STORE,
                    row.uids,
                    transfer.orthanc_id,
                    in_orthanc=there and transfer.orthanc_id in self._held,
                    in_store=row.uids in self._listed,
                    reason=f"{transfer.state} in {store}",
                )

    def _of_row(self, row: Recorded) -> Iterator[Finding]:
        """What a row says by itself."""
        transfer = row.transfer
        state, reason = transfer.state, transfer.reason or ""
        if state == State.SUPERSEDED:
            yield self._finding(Category.SUPERSEDED, row, reason)
        elif state == State.WITHDRAWN:
            back = not row.is_closed and self._in_orthanc(row)
            yield self._finding(Category.NOT_IN_LEDGER if back else Category.WITHDRAWN, row, reason)
        elif state == State.DISMISSED:
            yield self._finding(Category.DISMISSED, row, reason)
        elif state == State.QUARANTINED:
            yield self._finding(Category.QUARANTINED, row, reason)
        elif state == State.LOST:
            yield self._finding(Category.LOST, row, reason)
        elif state in _TO_BE_SENT:
            if self._is_looked_for(row):
                yield self._finding(Category.WAITING, row, reason)
        elif state not in _SENT:
            yield self._finding(Category.QUARANTINED, row, TransferReason.DAMAGED)
        elif self._is_overwritten(row) and self._received(row) < self._scope.began:
            yield self._finding(Category.WAITING, row, OVERWRITTEN)

    def _of_others(self, rows: Sequence[Recorded]) -> Iterator[Finding]:
        """What is wrong where a version that another account sends there supersedes the newest."""
        superseded = [row for row in rows if row.transfer.state == State.SUPERSEDED]
        others = [row for row in rows if row.transfer.state not in (State.SUPERSEDED, *_GONE)]
        sent = [row for row in others if row.transfer.state in _SENT]
        if not superseded or len(sent) < len(others):  # what is not sent is judged by itself
            return
        row = _newest(superseded)
        if any(map(row.is_replaced_by, sent)):
            return
        if not any(map(row.is_replaced_by, self._of_accounts.get(row.uids, ()))):
            yield self._finding(Category.WAITING, row, SUPERSEDED_UNCONFIRMED)
        elif row.uids not in self._listed:
            yield self._finding(Category.MISSING, row, "")

    def _in_store(self, rows: Sequence[Recorded]) -> tuple[Recorded, Finding | None] | None:
        """The version that the store should have, and what is wrong where it has it not.

        None where it should have none yet, or another is on its way.
        """
        sent = [row for row in rows if row.transfer.state in _SENT]
        if not sent:
            return None
        newest = _newest(sent)
        later = (row for row in rows if row.transfer.state in _TO_BE_SENT)
        if self._is_overwritten(newest) or any(row.is_newer(newest) for row in later):
            return None
        # Of several that are the same, that which Orthanc can send again.
        same = [row for row in sent if row.transfer.sha256 == newest.transfer.sha256]
        row = next((one for one in same if self._in_orthanc(one)), newest)
        if row.uids in self._listed:
            if self._scope.reads_bytes or not any(map(_may_be_other, same)):
                return row, None
            found = row, self._finding(Category.WAITING, row, UNREAD)
            return found if self._is_looked_for(newest) else None
        if self._is_fresh(newest):
            return row, self._finding(Category.WAITING, row, "acknowledged a moment ago")
        return row, self._finding(Category.MISSING, row, "")

    def _is_looked_for(self, row: Recorded) -> bool:
        """Whether it was received, or written down, before the audit began: each has a clock."""
        return min(row.transfer.received_at, row.queued_at) < self._scope.began

    def _is_fresh(self, row: Recorded) -> bool:
        """Whether the store has acknowledged it so late that a search may not find it yet."""
        at = row.acknowledged_at
        lag = at is not None and self._now - at < SEARCH_LAG
        return row.transfer.state == State.ACKNOWLEDGED and lag

    def _finding(self, category: Category, row: Recorded, reason: str) -> Finding:
        in_orthanc = self._in_orthanc(row)
        return Finding(
            category,
            row.uids,
            row.transfer.orthanc_id,
            in_orthanc=in_orthanc,
            in_store=row.uids in self._listed,
            reason=reason,
            transfer=row.transfer,
            accounts=self._held[row.transfer.orthanc_id].accounts if in_orthanc else frozenset(),
        )

    def _in_orthanc(self, row: Recorded) -> bool:
        return self._mine.get(row.transfer.orthanc_id) is row and (
            row.transfer.orthanc_id in self._held
        )

    def _received(self, row: Recorded) -> float:
        return self._held[row.transfer.orthanc_id].received_at

    def _same_version(self, row: Recorded) -> Held | None:
        """What Orthanc has of it, unless that is another version."""
        in_orthanc = self._in_orthanc(row) and not self._is_overwritten(row)
        return self._held[row.transfer.orthanc_id] if in_orthanc else None

    def _is_overwritten(self, row: Recorded) -> bool:
        """Whether Orthanc has another file of it by now."""
        if not self._in_orthanc(row):
            return False
        files = {row.transfer.attachment_uuid, self._held[row.transfer.orthanc_id].attachment_uuid}
        return len(files - {""}) > 1


def doubtful(comparison: Comparison) -> frozenset[Uids] | None:
    """The instances that a second look is to confirm something of; None where it need not."""
    if not any(one.category in _TRANSIENT for one in comparison.findings):
        return None
    return frozenset(
        one.uids for one in comparison.findings if one.differs or one.category in _TRANSIENT
    )


def confirmed(doubtful: Set[Uids], second: Comparison) -> Comparison:
    """What a second look has shown, without what only came up between the two."""
    findings = [
        one for one in second.findings if one.category not in _TRANSIENT or one.uids in doubtful
    ]
    return Comparison(second.stored, findings)


def _may_be_other(row: Recorded) -> bool:
    """Whether its store may have other bytes, and has not been seen to have these."""
    return row.transfer.state == State.ACKNOWLEDGED and row.transfer.may_be_other


def _newest(rows: Sequence[Recorded]) -> Recorded:
    newest = rows[0]
    for row in rows[1:]:
        if row.is_newer(newest):
            newest = row
    return newest
