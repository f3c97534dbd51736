"""C-FIND over the search of a store: Patient Root, Study Root, and Patient/Study Only (PS3.4 C)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any

from pydicom.dataset import Dataset

from orthanc_gcp.dicomweb import query as store_query
from orthanc_gcp.dicomweb.matching import Key, key_of
from orthanc_gcp.dicomweb.query import Query, QueryResult, is_searchable
from orthanc_gcp.dicomweb.readable import ReadableStore, SearchableStore
from orthanc_gcp.errors import StoreError
from orthanc_gcp.gateway.answer import made_answer, values_of
from orthanc_gcp.gateway.association import Answer, Find
from orthanc_gcp.gateway.request import FindRequest, IdentifierError, Level, read_request
from orthanc_gcp.gateway.searching import SearchingService

__all__ = ["FindService"]

# PS3.4 §C.4.1.1.4
SUCCESS, CANCELLED, MATCH, MATCH_WITH_UNSUPPORTED_KEYS = 0x0000, 0xFE00, 0xFF00, 0xFF01
LIMIT_REACHED, OUT_OF_RESOURCES, IDENTIFIER_DOES_NOT_MATCH = 0xB001, 0xA700, 0xA900
UNABLE_TO_PROCESS = 0xC001

_PATIENT_ROOT, _STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.1.1", "1.2.840.10008.5.1.4.1.2.2.1"
_PATIENT_STUDY_ONLY = "1.2.840.10008.5.1.4.1.2.3.1"
_LEVELS = {
    _PATIENT_ROOT: tuple(Level),
    _STUDY_ROOT: (Level.STUDY, Level.SERIES, Level.IMAGE),
    _PATIENT_STUDY_ONLY: (Level.PATIENT, Level.STUDY),
}
_SEARCHED = {
    Level.PATIENT: store_query.Level.STUDY,
    Level.STUDY: store_query.Level.STUDY,
    Level.SERIES: store_query.Level.SERIES,
    Level.IMAGE: store_query.Level.INSTANCE,
}
_PATIENT_ID, _STUDY_UID, _SERIES_UID = "00100020", "0020000D", "0020000E"
_MODALITY, _MODALITIES, _SOP_CLASS, _SOP_CLASSES = "00080060", "00080061", "00080016", "00080062"
_OF_A_PATIENT = frozenset({"00100010", _PATIENT_ID, "00100030", "00100040"})
"""What a store returns of a patient with each study."""
_STUDIES, _SERIES, _INSTANCES = (store_query.Level(one) for one in ("study", "series", "instance"))
_RELATED = {
    Level.PATIENT: {"00201200": _STUDIES, "00201202": _SERIES, "00201204": _INSTANCES},
    Level.STUDY: {
        "00201206": _SERIES,
        "00201208": _INSTANCES,
        _MODALITIES: _SERIES,
        _SOP_CLASSES: _INSTANCES,
    },
    Level.SERIES: {"00201209": _INSTANCES},
    Level.IMAGE: {},
}
"""What is counted, or gathered, among what is below a match (PS3.4 §C.3.4)."""
_COLLECTED = {_MODALITIES: _MODALITY, _SOP_CLASSES: _SOP_CLASS}
_UNIQUE = {Level.PATIENT: _PATIENT_ID, Level.STUDY: _STUDY_UID, Level.SERIES: _SERIES_UID}
_AHEAD = 16


OnMatch = Callable[[str, FindRequest, Mapping[str, Any]], None]


class FindService(SearchingService):
    """Answers C-FIND; several threads may use it at once.

    Parameters
    ----------
    stores, renew
        As :class:`SearchingService`.
    most_answers
        After so many matches, the rest is left out, and said to be; 0 for all.
    on_match
        Is called with the account, the request and the first match of each.
    """

    def __init__(
        self,
        stores: Mapping[str, ReadableStore],
        renew: Callable[[str], None] = lambda _: None,
        *,
        most_answers: int = 0,
        on_match: OnMatch = lambda *_: None,
    ) -> None:
        super().__init__(stores, renew)
        self._most, self._on_match = most_answers, on_match

    def __call__(self, find: Find, is_cancelled: Callable[[], bool]) -> Iterator[Answer]:
        """The responses to a request, as its matches are found; the final one last."""
        try:
            request = read_request(find.identifier, find.is_implicit, _LEVELS.get(find.model, ()))
        except IdentifierError as error:
            yield Answer(IDENTIFIER_DOES_NOT_MATCH, comment=str(error))
            return
        store = self._stores[find.account]
        try:
            account, called = find.account, find.called
            yield from self.answers(store, account, request, called, is_cancelled)
        except StoreError as error:
            status = OUT_OF_RESOURCES if error.retryable else UNABLE_TO_PROCESS
            yield Answer(status, comment=self._not_searched(find.account, error))

    def answers(
        self,
        store: SearchableStore,
        account: str,
        request: FindRequest,
        called: str,
        is_cancelled: Callable[[], bool],
    ) -> Iterator[Answer]:
        """The responses from a store, the final one last.

        Parameters
        ----------
        account
            Whose store it is; empty for nobody's.
        called
            The AE title that a match can be retrieved by.

        Raises
        ------
        StoreError
            The store refused, or its answer was lost.
        """
        keys = _supported(request)
        pending = MATCH if len(keys) == len(request.keys) else MATCH_WITH_UNSUPPORTED_KEYS
        query = Query(_SEARCHED[request.level], keys, _fields(request))
        found = store_query.find(store, query, QueryResult(), is_cancelled, self._pool)
        found = self._noted(account, request, found)
        matches = _patients(found) if request.level is Level.PATIENT else found
        answers = self._ahead(store, request, called, matches)
        for sent, answer in enumerate(answers):
            if is_cancelled():
                break
            if self._most and sent == self._most:
                words = f"{sent} matches were sent, there are more: narrow the search"
                yield Answer(LIMIT_REACHED, comment=words)
                return
            yield Answer(pending, answer)
        yield Answer(CANCELLED if is_cancelled() else SUCCESS)

    def _noted(
        self, account: str, request: FindRequest, found: Iterator[Mapping[str, Any]]
    ) -> Iterator[Mapping[str, Any]]:
        for number, match in enumerate(found):
            if number == 0:
                self._on_match(account, request, match)
            yield match

    def _ahead(
        self,
        store: SearchableStore,
        request: FindRequest,
        called: str,
        matches: Iterator[Mapping[str, Any]],
    ) -> Iterator[Dataset]:
        """The answers in their order; what has to be counted for some is counted at once."""
        related = {
            tag: level for tag, level in _RELATED[request.level].items() if tag in request.wanted
        }
        if not related:
            for match in matches:
                yield made_answer(match, request, called, {})
            return
        waiting: deque[tuple[Mapping[str, Any], Future[dict[str, list[Any]]]]] = deque()

        def first() -> Dataset:
            match, counted = waiting.popleft()
            return made_answer(match, request, called, counted.result())

        try:
            for match in matches:
                counting = self._pool.submit(_related, store, request.level, match, related)
                waiting.append((match, counting))
                if len(waiting) >= _AHEAD:
                    yield first()
            while waiting:
                yield first()
        finally:
            for _, left in waiting:
                left.cancel()


def _supported(request: FindRequest) -> tuple[Key, ...]:
    """The keys that a store can be asked, or its answer matched, by.

    The others are passed over, which the status of each match says (PS3.4 §C.4.1.1.4).
    """
    of_patient = request.level is Level.PATIENT
    level = _SEARCHED[request.level]
    return tuple(
        key
        for key in request.keys
        if is_searchable(key.tag, level) and (not of_patient or key.tag in _OF_A_PATIENT)
    )


def _fields(request: FindRequest) -> tuple[str, ...]:
    level = _SEARCHED[request.level]
    return tuple(
        tag
        for tag in request.wanted
        if (is_searchable(tag, level) and tag not in (_MODALITY, _MODALITIES))
        or (tag == _MODALITY and level is not _STUDIES)
    )


def _patients(studies: Iterator[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The first study of each patient: a store has no patients."""
    seen: set[int] = set()
    for study in studies:
        patient = hash(str(values_of(study, _PATIENT_ID)))
        if patient not in seen:
            seen.add(patient)
            yield study


def _related(
    store: SearchableStore,
    level: Level,
    match: Mapping[str, Any],
    related: Mapping[str, store_query.Level],
) -> dict[str, list[Any]]:
    """Numbers and lists of what is below a match, by tag."""
    values = values_of(match, _UNIQUE[level])
    if len(values) != 1 or not isinstance(values[0], str) or not values[0]:
        return {tag: [] for tag in related}
    key = key_of(_UNIQUE[level], values[0])
    made: dict[str, list[Any]] = {}
    for below in dict.fromkeys(related.values()):
        count, collected = 0, {tag: dict[str, None]() for tag in _COLLECTED}
        fields = tuple(
            _COLLECTED[tag] for tag, one in related.items() if one is below and tag in _COLLECTED
        )
        for found in store_query.find(store, Query(below, (key,), fields)):
            count += 1
            for tag, source in _COLLECTED.items():
                collected[tag] |= dict.fromkeys(map(str, values_of(found, source)))
        for tag, one in related.items():
            if one is below:
                made[tag] = list(collected[tag]) if tag in _COLLECTED else [str(count)]
    return made
