"""Compares Orthanc, the ledger and the stores, study by study.

As much is in memory as one study needs: the UIDs of its instances, each a few times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from datetime import UTC, datetime

from orthanc_gcp.custody.audit.comparison import (
    Comparison,
    Held,
    Scope,
    Sides,
    Stored,
    compare,
    confirmed,
    doubtful,
)
from orthanc_gcp.custody.audit.findings import Category, Finding, StudyResult, Uids
from orthanc_gcp.custody.audit.held import OrthancStudies
from orthanc_gcp.custody.audit.recorded import StudyRows, recorded
from orthanc_gcp.custody.audit.stored import Content, StoreReader
from orthanc_gcp.custody.audit.study_list import ListedStudy, StudyList
from orthanc_gcp.errors import OrthancError, StoreError
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.selection import Selection
from orthanc_gcp.ledger.studies import page_of_studies

__all__ = ["Audit"]

_ORTHANC_DATE = "%Y%m%dT%H%M%S"
_PAGE = 500
_NO_ACCOUNT = "the configuration has no such account"


class Audit:
    """One audit: what is meant is listed, then compared study by study.

    Parameters
    ----------
    stores
        By account: those that can be asked.
    orthanc
        None: the ledger is compared with the stores alone.
    selection
        Which studies: those that have an instance that is meant, and all instances of these.
    problems
        Why accounts cannot be asked that are in no ``stores``.
    contents
        Whether bytes are compared, too, by the ledger's SHA-256 and Orthanc's MD5.
    """

    def __init__(
        self,
        ledger: Ledger,
        stores: Mapping[str, StoreReader],
        orthanc: OrthancStudies | None,
        selection: Selection,
        scope: Scope,
        problems: Mapping[str, str],
        *,
        contents: bool = False,
    ) -> None:
        self._ledger, self._stores, self._orthanc = ledger, stores, orthanc
        self._selection, self._problems = selection, problems
        self._scope, self._contents = replace(scope, reads_bytes=contents), contents

    # -- Which studies --------------------------------------------------------------------------

    def list_studies(
        self, into: StudyList, on_progress: Callable[[], object] = lambda: None
    ) -> list[StudyResult]:
        """List the studies that Orthanc, the ledger and, if all are meant, the stores have.

        Returns
        -------
        list
            The accounts whose studies could not be listed.

        Raises
        ------
        OrthancError
            Orthanc cannot be asked.
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        for study_of_ledger in self._recorded_studies():
            into.add(study_of_ledger)
            on_progress()
        if self._orthanc is not None:
            self._list_of_orthanc(self._orthanc, into, on_progress)
        study = self._selection.study_instance_uid
        if study is not None:
            if not into.count():
                for account in self._stores:
                    into.add_of_store(study, account)
            return []
        if self._has_period:
            return []
        return self._list_of_stores(into, on_progress)

    def _recorded_studies(self) -> Iterator[str]:
        """Those that the ledger has; those of former stores, too."""
        after = None
        while page := page_of_studies(self._ledger, self._selection, after, _PAGE):
            # A row of SQLite may be damaged.
            yield from (str(one.study_instance_uid) for one in page)
            after = page[-1]

    def _list_of_orthanc(
        self, orthanc: OrthancStudies, into: StudyList, on_progress: Callable[[], object]
    ) -> None:
        study, since = self._selection.study_instance_uid, self._selection.since
        if study is not None:
            for name in orthanc.find(study):
                into.add(study)
                into.add_identifier(study, name)
            return
        oldest = "" if since is None else datetime.fromtimestamp(since, UTC).strftime(_ORTHANC_DATE)

        def add(uid: str, name: str, updated: str) -> None:
            into.add_identifier(uid, name)
            if not updated or updated >= oldest:
                into.add(uid, certain=not self._has_period)
            on_progress()

        orthanc.all(add)

    def _list_of_stores(
        self, into: StudyList, on_progress: Callable[[], object]
    ) -> list[StudyResult]:
        failed: list[StudyResult] = []
        for account, store in self._stores.items():

            def add(study: str, account: str = account) -> None:
                into.add_of_store(study, account)
                on_progress()

            try:
                store.studies(add)
            except StoreError as error:
                words = f"its studies could not be listed: {error}"
                failed.append(StudyResult(None, account, error=words))
        return failed

    @property
    def _has_period(self) -> bool:
        return self._selection.since is not None or self._selection.until is not None

    # -- One study ------------------------------------------------------------------------------

    def compare(self, study: ListedStudy) -> list[StudyResult]:
        """Compare one study, at each account that has, or should have, something of it.

        Nothing, when none of its instances is of the period.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        try:
            held = self._held(study)
        except OrthancError as error:
            return [StudyResult(study.uid, None, error=str(error))]
        if not study.certain and not any(map(self._is_of_period, held)):
            return []
        rows = recorded(self._ledger, study.uid)
        wanted = {name for one in held for name in one.accounts or ()}
        meant = sorted(filter(self._is_meant, {*rows.by_account, *study.accounts, *wanted}))
        found = [self._at(account, study, held, rows) for account in meant]
        rest = self._of_no_account(study, held, rows)
        return found + [one for one in [rest] if one.not_wanted or one.findings or not found]

    def _held(self, study: ListedStudy) -> list[Held]:
        return [] if self._orthanc is None else self._orthanc.instances(study.orthanc_ids)

    def _is_meant(self, account: str) -> bool:
        return self._selection.account in (None, account)

    def _is_of_period(self, held: Held) -> bool:
        since, until = self._selection.since, self._selection.until
        return (since is None or held.received_at >= since) and (
            until is None or held.received_at < until
        )

    def _of_no_account(
        self, study: ListedStudy, held: Iterable[Held], rows: StudyRows
    ) -> StudyResult:
        """What Orthanc has of it, and none of the accounts is to have, or it is not known which."""
        old = [one for one in held if one.received_at < self._scope.began]
        mine = {
            row.transfer.orthanc_id
            for account in filter(self._is_meant, rows.by_account)
            for row in rows.by_account[account]
            if row.transfer.source == self._scope.source
        }
        not_wanted = sum(
            one.orthanc_id not in mine
            and not any(map(self._is_meant, one.possible if one.accounts is None else one.accounts))
            for one in old
        )
        unreadable = [one for one in old if one.accounts is None]
        findings = list(self._uncompared(unreadable, rows))
        return StudyResult(study.uid, None, not_wanted=not_wanted, findings=findings)

    def _uncompared(self, unreadable: Sequence[Held], rows: StudyRows) -> Iterator[Finding]:
        """What the rules may want for an account that nobody has written it down for."""
        names = {
            account: rows.names(account, self._scope.source)
            for account in sorted({name for one in unreadable for name in one.possible})
            if self._is_meant(account)
        }
        for one in unreadable:
            missing = [
                account
                for account, own in names.items()
                if account in one.possible and one.orthanc_id not in own
            ]
            if missing:
                words = (
                    "Orthanc cannot read what the rules ask for: "
                    f"whether they want it for {', '.join(missing)} is not known"
                )
                yield Finding(
                    Category.UNCOMPARED, one.uids, one.orthanc_id, in_orthanc=True, reason=words
                )

    def _at(
        self, account: str, study: ListedStudy, held: Sequence[Held], rows: StudyRows
    ) -> StudyResult:
        now, store = self._ledger.now(), self._stores.get(account)
        sides = _sides(account, held, rows)
        if not sides.rows and account not in study.accounts:
            known = compare(sides, self._scope, now)
            if not any(one.differs for one in known.findings):
                return _result(study.uid, account, known)  # of which the store is not asked
        if store is None:
            return StudyResult(study.uid, account, error=self._problems.get(account, _NO_ACCOUNT))
        try:
            sides = replace(sides, listed=store.instances(study.uid))
            found = compare(sides, self._scope, now)
            in_doubt = doubtful(found)
            if in_doubt is not None:
                del sides, found  # a study may have very many instances
                found = confirmed(in_doubt, self._look_again(account, study, store))
            if self._contents:
                found = self._with_contents(account, study, store, found)
        except (OrthancError, StoreError) as error:
            return StudyResult(study.uid, account, error=str(error))
        return _result(study.uid, account, found)

    def _look_again(self, account: str, study: ListedStudy, store: StoreReader) -> Comparison:
        """Much may have come up, or pages have shifted, while each of them was asked."""
        now, held = self._ledger.now(), self._held(study)
        sides = _sides(account, held, recorded(self._ledger, study.uid))
        return compare(replace(sides, listed=store.instances(study.uid)), self._scope, now)

    # -- Bytes ----------------------------------------------------------------------------------

    def _with_contents(
        self,
        account: str,
        study: ListedStudy,
        store: StoreReader,
        found: Comparison,
        *,
        is_second: bool = False,
    ) -> Comparison:
        """The same, and what the bytes show.

        What was sent, or received, anew meanwhile is not what it was compared with: it is looked at
        once more.
        """
        judged = self._read(store, found.stored)
        if not judged:
            return found
        changed = set() if is_second else self._sent_anew(account, study, judged)
        findings = [why for one, why in judged.items() if one.row.uids not in changed]
        if any(finding.category is not Category.DIFFERENT for finding in findings):
            listed = store.instances(study.uid)
            findings = [_listed_still(finding, listed) for finding in findings]
        stored = [one for one in found.stored if one not in judged]
        if not changed:
            return Comparison(stored, [*found.findings, *findings])
        again = _only(changed, self._look_again(account, study, store))
        again = self._with_contents(account, study, store, again, is_second=True)
        others = [one for one in found.findings if one.uids not in changed]
        return Comparison(stored + again.stored, [*others, *findings, *again.findings])

    def _read(self, store: StoreReader, stored: Sequence[Stored]) -> dict[Stored, Finding]:
        """Those of some instances that the store does not give back as they should be, and why."""
        held = [one.held for one in stored if one.held is not None]
        md5s = {} if self._orthanc is None else self._orthanc.md5s(held)
        contents = store.contents([one.row.uids for one in stored])
        return {
            one: finding
            for one, content in zip(stored, contents, strict=True)
            if (finding := _judged(one, content, md5s))
        }

    def _sent_anew(self, account: str, study: ListedStudy, read: Iterable[Stored]) -> set[Uids]:
        """Those of some instances of which the ledger has another sending by now, or none."""
        now = {row.sending for row in recorded(self._ledger, study.uid).of(account)}
        return {one.row.uids for one in read if one.row.sending not in now}


def _only(instances: Set[Uids], found: Comparison) -> Comparison:
    """What is said of some instances."""
    stored = [one for one in found.stored if one.row.uids in instances]
    return Comparison(stored, [one for one in found.findings if one.uids in instances])


def _listed_still(finding: Finding, listed: Set[Uids]) -> Finding:
    """What could not be retrieved may have been deleted: Google refuses it with 403 then."""
    if finding.category is Category.DIFFERENT or finding.uids in listed:
        return finding
    return replace(finding, category=Category.MISSING, in_store=False, reason="")


def _sides(account: str, held: Sequence[Held], rows: StudyRows) -> Sides:
    """Without what the store lists."""
    return Sides(
        account,
        held,
        rows.of(account),
        rows.former(account),
        known=rows.in_store_of(account),
        confirmed=rows.confirmed_for_others(account),
    )


def _judged(stored: Stored, content: Content, md5s: Mapping[str, str]) -> Finding | None:
    """What is wrong with an instance as the store gives it back."""
    transfer = stored.row.transfer
    finding = Finding(
        Category.DIFFERENT,
        stored.row.uids,
        transfer.orthanc_id,
        in_orthanc=stored.held is not None,
        in_store=True,
        transfer=transfer,
    )
    md5 = md5s.get(stored.held.orthanc_id, "") if stored.held else ""
    if content.error:
        return replace(finding, category=Category.UNCOMPARED, reason=content.error)
    if not content.sha256:
        words = "a search finds it, and it cannot be retrieved"
        return replace(finding, category=Category.MISSING, reason=words)
    if not transfer.sha256 and not md5:
        words = "neither the ledger nor Orthanc has a digest of it"
        return replace(finding, category=Category.UNCOMPARED, reason=words)
    digests: dict[str, str] = {}
    if transfer.sha256 and transfer.sha256 != content.sha256:
        digests |= {"Sha256": transfer.sha256, "StoreSha256": content.sha256}
    if md5 and md5 != content.md5:
        digests |= {"Md5": md5, "StoreMd5": content.md5}
    return replace(finding, digests=digests) if digests else None


def _result(study: str, account: str, found: Comparison) -> StudyResult:
    return StudyResult(
        study,
        account,
        stored=[one.row.uids for one in found.stored],
        bytes=sum(one.row.transfer.size_bytes for one in found.stored),
        findings=found.findings,
    )
