"""Fetches the priors of a patient: on an instance, a C-FIND, a worklist entry, or on demand.

Which study it is stands in the ledger before Orthanc's change counts as read; whose it is does not,
and is asked of Orthanc. A prior is one of a store's studies with the same PatientID and the same
IssuerOfPatientID, or both without one: the wrong patient's is worse than none.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

from orthanc_gcp.configuration import PrefetchRule
from orthanc_gcp.configuration.attributes import attribute, matches
from orthanc_gcp.configuration.timetable import Timetable
from orthanc_gcp.dicomweb import DicomStore
from orthanc_gcp.dicomweb.search import found_uids
from orthanc_gcp.errors import OrthancError, OrthancGoneError, OrthancRefusedError, StoreError
from orthanc_gcp.ledger.database import is_away
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.retrievals.prefetches import ENTRY, PrefetchRow
from orthanc_gcp.ledger.retrievals.rows import Resource
from orthanc_gcp.ledger.schema import Cause, PrefetchState
from orthanc_gcp.ledger.uids import uid_fault
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.reasons import PrefetchReason, StoreReason
from orthanc_gcp.retrieval.conditions import Conditions
from orthanc_gcp.retrieval.receive.filtering import text_of
from orthanc_gcp.retrieval.remote import BACKOFF, RemoteStore
from orthanc_gcp.retrieval.worklist import UnreadableEntryError, WorklistFolder
from orthanc_gcp.thread_pools import submit

__all__ = ["Patient", "Prefetcher"]

_log = logging.getLogger(__name__)

MOST_CANDIDATES, MOST_EXAMINED, MOST_SERIES = 200, 50, 20
"""So many of a patient's newest studies are candidates, so many of them are asked about, and of
each so many series."""
MOST_ATTEMPTS = 8
LONGEST_WAIT = 7 * 86400.0
"""Seconds for which a schedule, or a store that is away, is waited for."""
ASK_AGAIN = 60.0
LOOK_EVERY = 10.0
"""Seconds between two looks at the worklist."""
_OF_PACE = 1 << 48
"""What is added to a row's number, so that a pace takes it for no other."""
_PADDING = " \0"
_PATTERN = frozenset("*?\\,")
"""What a search takes for more than one value."""
_STUDY, _SERIES, _DATE, _TIME, _MODALITY = (
    "0020000D",
    "0020000E",
    "00080020",
    "00080030",
    "00080060",
)
_WHOLE = ("0010,0020", "0010,0021")
"""What of an instance counts as a whole, however long it is."""
_PATIENT_ID, _ISSUER, _BODY_PART = "00100020", "00100021", "00180015"
_STUDY_DATE = "0008,0020"


@dataclass(frozen=True)
class Patient:
    """Who a patient is: patient data, not to be stored or logged."""

    patient_id: str
    issuer: str

    @classmethod
    def of(cls, attributes: Mapping[str, str]) -> Patient:
        """That of an instance, whose attributes are Orthanc's."""
        return cls(
            attributes.get("0010,0020", "").strip(_PADDING),
            attributes.get("0010,0021", "").strip(_PADDING),
        )


@dataclass(frozen=True)
class _Study:
    """A study of a store, by what a search for studies gives."""

    uid: str
    date: str
    time: str


class Prefetcher:
    """Looks for priors, and has them retrieved; a loop makes its steps.

    Parameters
    ----------
    local_time
        Gives the time of the machine, by which schedules go.
    on_request
        Called when there is something to retrieve.
    worklist
        Where the entries of a worklist are; None for none.
    pool
        Makes one of so many threads, whose names begin so.

    Attributes
    ----------
    has_rules
        Whether it looks for more than what somebody asks for.
    """

    def __init__(
        self,
        rules: Sequence[PrefetchRule],
        ledger: Ledger,
        orthanc: OrthancSource,
        remotes: Mapping[str, RemoteStore],
        conditions: Conditions,
        local_time: Callable[[], datetime],
        on_request: Callable[[], None],
        worklist: WorklistFolder | None = None,
        pool: Callable[[int, str], Executor] = ThreadPoolExecutor,
    ) -> None:
        self._rules = [(rule, Timetable(rule.schedule)) for rule in rules]
        self.has_rules = bool(self._rules)
        self._accounts = list(
            dict.fromkeys(rule.account for rule in rules if "Instance" in rule.on)
        )
        self._of_worklist = list(
            dict.fromkeys(rule.account for rule in rules if "Worklist" in rule.on)
        )
        self._worklist, self._looked_at = worklist, float("-inf")
        self._noted: set[str] = set()
        self._ledger, self._orthanc, self._remotes = ledger, orthanc, remotes
        self._conditions = conditions
        self._local_time, self._on_request = local_time, on_request
        self._pool = pool(1, "gcp-prefetch")
        self._is_busy = False
        self._orthanc_error: OrthancError | None = None

    def noticed(self, source: str, studies: Sequence[str]) -> None:
        """Orthanc has received the first instances of studies, by its identifiers.

        Raises
        ------
        SQLAlchemyError
            The ledger is away.
        """
        self._ledger.prefetches.add(source, studies, self._accounts)

    def demand(self, source: str, account: str, resources: Sequence[str]) -> int:
        """Somebody asks for the priors of studies, or of those that series belong to; how many.

        No rule is needed, and none is waited for; the rule that the account has for such a study
        says which priors these are.

        Parameters
        ----------
        source
            The ledger's name for the index of Orthanc.
        resources
            Orthanc's identifiers.

        Raises
        ------
        KeyError
            Orthanc has no such study or series; nothing was written down.
        OrthancError
            Orthanc is away, or refuses.
        SQLAlchemyError
            The ledger is away.
        """
        studies = self._orthanc.studies_of(resources)
        self._ledger.prefetches.demand(source, studies, account)
        return len(studies)

    def step(self) -> bool:
        """Begin to look for the priors of one study; whether there was one.

        Raises
        ------
        OrthancError
            Orthanc was away when it was last asked.
        SQLAlchemyError
            The ledger is away.
        RuntimeError
            No thread can be started: it waits.
        """
        error, self._orthanc_error = self._orthanc_error, None
        if error is not None:
            raise error
        source = self._conditions.source()
        if not source or self._conditions.must_stop() or self._is_busy:
            return False
        self._look_into_worklist(source)
        accounts = [name for name in self._remotes if self._may_ask(name)]
        due = self._ledger.prefetches.due(source, accounts, 1)
        for row in due:
            self._is_busy = True
            try:
                submit(self._pool, partial(self._run, row))
            except RuntimeError:
                self._is_busy = False
                raise
        return bool(due)

    def _look_into_worklist(self, source: str) -> None:
        """Write down the entries that are new, now and then."""
        now = self._ledger.now()
        if self._worklist is None or not self._of_worklist:
            return
        if 0 <= now - self._looked_at < LOOK_EVERY:
            return
        entries = set(self._worklist.entries())
        fresh = sorted(f"{ENTRY}{digest}" for digest in entries - self._noted)
        self._ledger.prefetches.add(source, fresh, self._of_worklist)
        self._noted, self._looked_at = entries, now

    def stop(self) -> None:
        """Begin nothing more; what still runs is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, row: PrefetchRow) -> None:
        try:
            self._look(row)
        except OrthancError as error:
            self._orthanc_error = error
        except Exception as error:
            if not is_away(error):  # the next step says so
                _log.error("prefetch %d: unexpected %s", row.id, type(error).__name__)
                self._later(row, PrefetchReason.UNEXPECTED, f"unexpected {type(error).__name__}")
        finally:
            self._is_busy = False

    def _may_ask(self, account: str) -> bool:
        return self._conditions.allowed(account) and self._remotes[account].pace.is_open

    # -- Which study it is ----------------------------------------------------------------------

    def _look(self, row: PrefetchRow) -> None:
        if self._ledger.now() - row.noticed_at > LONGEST_WAIT:
            self._skip(row, PrefetchReason.TOO_LATE)
            return
        try:
            if row.entry:
                attributes = self._of_entry(row.entry)
            elif row.is_of_search:
                attributes = self._of_patient(row)
            else:
                attributes = self._of_study(row.orthanc_id)
        except StoreError as error:
            self._store_failed(row, self._remotes[row.account], error)
            return
        except (KeyError, OrthancGoneError):
            self._skip(row, PrefetchReason.GONE)
            return
        except UnreadableEntryError as error:
            self._skip(row, PrefetchReason.UNREADABLE, f"an entry of the worklist: {error}")
            return
        except OrthancRefusedError as error:
            self._later(row, PrefetchReason.UNREADABLE, str(error))
            return
        found = self._judge(row, attributes)
        if found is PrefetchReason.SCHEDULE:
            words = "the rule's schedule is not open"
            self._ledger.prefetches.postpone(row, row.attempts, ASK_AGAIN, found, words)
        elif isinstance(found, PrefetchReason):
            self._skip(row, found)
        else:
            self._search(row, found, attributes)

    def _of_study(self, study: str) -> Mapping[str, str]:
        """The attributes of an instance of a study of Orthanc's.

        Raises
        ------
        KeyError, OrthancError
            Orthanc has no such study, is away, or refuses.
        """
        instance = next(iter(self._orthanc.members([study])), "")
        return self._orthanc.attributes(instance, _WHOLE) if instance else {}

    def _of_entry(self, digest: str) -> Mapping[str, str]:
        """The attributes of an entry of the worklist.

        Raises
        ------
        KeyError
            It is not there any more.
        UnreadableEntryError
            It is none.
        """
        if self._worklist is None:
            raise KeyError(digest)
        return {**self._worklist.attributes(digest), _STUDY_DATE: ""}

    def _of_patient(self, row: PrefetchRow) -> Mapping[str, str]:
        """Who the patient of a study is, which the store has, or else Orthanc.

        Raises
        ------
        StoreError, OrthancError
            They are away, or refuse.
        KeyError
            Neither has the study.
        """
        remote = self._remotes[row.account]
        remote.wait_for_request()
        keys = {_STUDY: row.orthanc_id, "includefield": f"{_STUDY},{_PATIENT_ID},{_ISSUER}"}
        found = remote.client.search("/instances", keys, depth=3, page=1)
        one = next(found, None)
        if one is not None and (found_uids(one, 1) or ("",))[0] == row.orthanc_id:
            return {
                name: text_of(one, tag)
                for name, tag in zip(_WHOLE, (_PATIENT_ID, _ISSUER), strict=True)
            }
        (study, *_) = self._orthanc.find_study(row.orthanc_id) or ("",)
        attributes = self._of_study(study) if study else {}
        if not attributes:
            raise KeyError(row.orthanc_id)
        return {name: attributes.get(name, "") for name in _WHOLE}

    def _judge(
        self, row: PrefetchRow, attributes: Mapping[str, str]
    ) -> PrefetchRule | PrefetchReason:
        """The rule that wants priors of such a study, or why none are wanted."""
        study = attributes.get("0020,000d", "").strip(_PADDING)
        patient = Patient.of(attributes)
        waits = row.demanded_at is None and not (row.is_of_search or row.entry)
        if waits and self._ledger.retrievals.brought_back(row.source, study):
            return PrefetchReason.BROUGHT_BACK
        own = [one for one in self._rules if one[0].account == row.account]
        trigger = "Worklist" if row.entry else "Query" if row.is_of_search else "Instance"
        if row.demanded_at is None:
            own = [one for one in own if trigger in one[0].on]
        rule, timetable = next((one for one in own if _wants(one[0], attributes)), (None, None))
        if row.demanded_at is not None:
            rule, timetable = rule or PrefetchRule(account=row.account), Timetable(())
        if rule is None or timetable is None:
            return PrefetchReason.NO_RULE
        if not patient.patient_id:
            return PrefetchReason.NO_PATIENT_ID
        if _PATTERN & set(patient.patient_id) or not patient.patient_id.isprintable():
            return PrefetchReason.ODD_PATIENT_ID
        return rule if timetable.is_open(self._local_time()) else PrefetchReason.SCHEDULE

    # -- Which are its priors -------------------------------------------------------------------

    def _search(self, row: PrefetchRow, rule: PrefetchRule, attributes: Mapping[str, str]) -> None:
        remote = self._remotes[row.account]
        began = self._ledger.now()
        try:
            found = list(_Search(remote, rule, attributes, self._local_time().date()).priors())
        except StoreError as error:
            self._store_failed(row, remote, error)
            return
        remote.pace.forget(_OF_PACE + row.id)
        if found:
            resources = [Resource(uid) for uid in found]
            self._ledger.retrievals.request(
                row.account, row.source, resources, compare_bytes=False, cause=Cause.PREFETCH
            )
        self._ledger.prefetches.end(row, PrefetchState.REQUESTED, studies=len(found))
        _log.info(
            "account %s: %d priors of a patient are fetched, after %.1f s",
            row.account,
            len(found),
            max(0.0, began - row.noticed_at),
        )
        self._on_request()

    def _store_failed(self, row: PrefetchRow, remote: RemoteStore, error: StoreError) -> None:
        if error.reason == StoreReason.UNAUTHORIZED:
            remote.renew_token()
        if remote.failed([_OF_PACE + row.id], error):
            self._later(row, error.reason, str(error))
        else:
            self._ledger.prefetches.postpone(row, row.attempts, 0.0, error.reason, str(error))

    def _later(self, row: PrefetchRow, reason: str, words: str) -> None:
        attempts = row.attempts + 1
        if attempts >= MOST_ATTEMPTS:
            self._skip(row, reason, words)
        else:
            pause = BACKOFF.delay(attempts)
            self._ledger.prefetches.postpone(row, attempts, pause, reason, words)

    def _skip(self, row: PrefetchRow, reason: str, words: str | None = None) -> None:
        self._ledger.prefetches.end(row, PrefetchState.SKIPPED, reason=reason, detail=words)
        quiet = reason in (PrefetchReason.BROUGHT_BACK, PrefetchReason.NO_RULE)
        level = logging.DEBUG if quiet else logging.WARNING
        _log.log(
            level,
            "account %s: no priors of study %s of Orthanc are fetched: %s",
            row.account,
            row.orthanc_id,
            words or reason,
        )


def _wants(rule: PrefetchRule, attributes: Mapping[str, str]) -> bool:
    """Whether a rule is for a study, by one of its instances."""
    if not matches(rule.modalities, attributes.get("0008,0060", "")):
        return False
    named = ((attribute(name), pattern) for name, pattern in rule.tags.items())
    return all(
        one is not None and matches((pattern,), attributes.get(one.number, ""))
        for one, pattern in named
    )


class _Search:
    """Finds the priors of one study in one store."""

    def __init__(
        self,
        remote: RemoteStore,
        rule: PrefetchRule,
        attributes: Mapping[str, str],
        today: date,
    ) -> None:
        self._remote, self._rule = remote, rule
        self._patient = Patient.of(attributes)
        self._study = attributes.get("0020,000d", "").strip(_PADDING)
        self._date = _date(attributes.get("0008,0020", "")) or today

    @property
    def _store(self) -> DicomStore:
        return self._remote.client

    def priors(self) -> Iterator[str]:
        """The Study Instance UIDs of those that the rule wants, the newest first.

        Raises
        ------
        StoreError
            The store refused, or its answer was lost.
        """
        found = heapq.nlargest(
            MOST_CANDIDATES, self._candidates(), key=lambda one: (one.date, one.time, one.uid)
        )
        chosen = 0
        for one in found[:MOST_EXAMINED]:
            if chosen >= self._rule.max_studies:
                return
            if self._is_of_patient(one) and self._has_series(one):
                chosen += 1
                yield one.uid

    def _candidates(self) -> Iterator[_Study]:
        """The other studies of this PatientID that are not too old, and not newer."""
        for match in self._find("/studies", {_PATIENT_ID: self._patient.patient_id}, 1):
            uids = found_uids(match, 1)
            if uids is None or uids[0] == self._study or not _can_be_asked_for(uids[0]):
                continue
            # Whatever the store takes for the same.
            if text_of(match, _PATIENT_ID).strip(_PADDING) != self._patient.patient_id:
                continue
            one = _Study(uids[0], text_of(match, _DATE), text_of(match, _TIME))
            if self._is_in_time(one):
                yield one

    def _is_in_time(self, study: _Study) -> bool:
        made, most = _date(study.date), self._rule.max_age_days
        if made is None:
            return most is None
        if made > self._date:
            return False
        return most is None or self._date - made <= timedelta(days=most)

    def _is_of_patient(self, study: _Study) -> bool:
        """Whether it is of the same issuer's patient, as one of its instances says."""
        keys = {_STUDY: study.uid, "includefield": f"{_STUDY},{_PATIENT_ID},{_ISSUER}"}
        one = next(self._find("/instances", keys, 3, 1), None)
        if one is None or found_uids(one, 1) != (study.uid,):
            return False
        there = (text_of(one, tag).strip(_PADDING) for tag in (_PATIENT_ID, _ISSUER))
        return Patient(*there) == self._patient

    def _has_series(self, study: _Study) -> bool:
        """Whether one of its series has a modality and a body part that the rule wants."""
        rule = self._rule
        if not (rule.prior_modalities or rule.prior_body_parts):
            return True
        examined = 0
        keys = {_STUDY: study.uid, "includefield": _STUDY}
        for match in self._find("/series", keys, 2):
            uids = found_uids(match, 2)
            if uids is None or uids[0] != study.uid or not _can_be_asked_for(uids[1]):
                continue
            if not matches(rule.prior_modalities, text_of(match, _MODALITY)):
                continue
            examined += 1
            if not rule.prior_body_parts or self._has_body_part(study.uid, uids[1]):
                return True
            if examined >= MOST_SERIES:
                return False
        return False

    def _has_body_part(self, study: str, series: str) -> bool:
        """Whether a series is of a body part that the rule wants: one of its instances says it."""
        keys = {_STUDY: study, _SERIES: series, "includefield": f"{_STUDY},{_SERIES},{_BODY_PART}"}
        one = next(self._find("/instances", keys, 3, 1), None)
        if one is None or found_uids(one, 2) != (study, series):
            return False
        return matches(self._rule.prior_body_parts, text_of(one, _BODY_PART))

    def _find(
        self, path: str, keys: Mapping[str, str], depth: int, page: int = 1000
    ) -> Iterator[Mapping[str, Any]]:
        self._remote.wait_for_request()
        return self._store.search(path, keys, depth=depth, page=page)


def _can_be_asked_for(uid: str) -> bool:
    return uid_fault(uid, "1", "1") is None and not _PATTERN & set(uid)


def _date(text: str) -> date | None:
    """A date of DICOM (PS3.5 §6.2, DA); None for anything else."""
    try:
        return datetime.strptime(text.strip(_PADDING)[:8], "%Y%m%d").date()  # noqa: DTZ007
    except ValueError:
        return None
