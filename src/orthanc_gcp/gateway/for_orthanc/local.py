"""Orthanc as a store that can be searched and read: what it holds itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydicom.datadict import dictionary_VR

from orthanc_gcp.dicomweb.search import SIZE_FIELDS
from orthanc_gcp.errors import OrthancError, OrthancGoneError, StoreError
from orthanc_gcp.orthanc.find import NO_LIMITS, FindLimits, FoundResource, find, find_all
from orthanc_gcp.orthanc.lookup import Answers
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.reasons import StoreReason

__all__ = ["MOST_MATCHES", "UNREAD", "LocalStore"]

MOST_MATCHES = 100_000
"""So many matches are taken from Orthanc."""
_LEVELS = {"/studies": "Study", "/series": "Series", "/instances": "Instance"}
_UIDS = ("0020000D", "0020000E", "00080018")
_PATIENT_NAME = "00100010"
_ONE_TEXT = frozenset({"LT", "ST", "UT", "UR"})
UNREAD = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "UN"})
"""Value representations of what is not taken from Orthanc."""
_PADDING = " \0"
_UID_TAGS = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]


class LocalStore:
    """What Orthanc holds, asked by its REST API; of one request of DIMSE.

    Parameters
    ----------
    path
        The resource whose matches are to have more than a store gives: ``/studies``, for example.
        Others are searched by unique keys, to be counted or sent: all that is there is found, and
        not only as much as Orthanc answers to a query.
    wanted
        The tags of that.
    limits
        Those of Orthanc.

    Attributes
    ----------
    is_cut
        Whether there may be more at that resource than were found.
    held
        The UIDs of each instance that was found -> Orthanc's identifier.
    """

    def __init__(
        self,
        rest: OrthancRest,
        path: str = "",
        wanted: Collection[str] = (),
        limits: FindLimits = NO_LIMITS,
    ) -> None:
        self._rest, self._path, self._wanted, self._limits = rest, path, wanted, limits
        self.is_cut = False
        self._answers = defaultdict[str, Answers](Answers)
        self.held: dict[tuple[str, ...], str] = {}

    def search(
        self, path: str, parameters: Mapping[str, str], *, depth: int, page: int = 1000
    ) -> Iterator[dict[str, Any]]:
        """What a search finds, as :meth:`orthanc_gcp.dicomweb.client.DicomStore.search`.

        Raises
        ------
        StoreError
            Orthanc does not answer, or not as it should.
        """
        del page  # it comes at once
        query, uids = _query(parameters), _UIDS[:depth]
        fields = [one for one in parameters.get("includefield", "").split(",") if one]
        more = self._wanted if path == self._path else ()
        wanted = [one for one in dict.fromkeys((*uids, *fields, *more)) if one not in SIZE_FIELDS]
        try:
            for one in self._found(path, query, wanted):
                named = tuple(one.attributes.get(tag, "").strip(_PADDING) for tag in uids)
                if not all(named):
                    continue
                if path == "/instances":
                    self.held[named] = one.orthanc_id
                yield _model(one.attributes)
        except OrthancError as error:
            raise _unavailable(error) from error

    def _found(
        self, path: str, query: Mapping[str, str], wanted: Collection[str]
    ) -> Iterable[FoundResource]:
        level = _LEVELS[path]
        if path == self._path or not query:
            return self._counted(level, query, wanted)
        if self._path:  # to be counted, maybe for hundreds of matches
            found = list(find(self._rest, level, query, wanted, most=MOST_MATCHES))
            if self._answers[path].is_whole(len(found)):
                return found
        return find_all(self._rest, level, query, wanted, self._limits)

    def _counted(
        self, level: str, query: Mapping[str, str], wanted: Collection[str]
    ) -> Iterator[FoundResource]:
        number = 0
        for one in find(self._rest, level, query, wanted, most=MOST_MATCHES):
            number += 1
            yield one
        is_cut = number == MOST_MATCHES or self._limits.have_cut(self._rest, level, query, number)
        self.is_cut |= is_cut

    @contextmanager
    def open(
        self, study: str, series: str, instance: str, *, transfer_syntax: str = "*"
    ) -> Generator[Iterator[bytes]]:
        """Read the file of an instance that was found, piece by piece.

        Raises
        ------
        StoreError
            Orthanc does not have it any more, cannot transcode it, or does not answer; the iterator
            raises it as well.
        """
        place = f"/instances/{self.held[study, series, instance]}"
        path, body = f"{place}/file", None
        if transfer_syntax != "*":
            path = f"{place}/modify"
            body = {"Keep": _UID_TAGS, "Force": True, "Transcode": transfer_syntax}
        try:
            with self._rest.read(path, body) as pieces:
                yield pieces
        except OrthancError as error:
            raise _unavailable(error) from error


def _query(parameters: Mapping[str, str]) -> dict[str, str]:
    """What Orthanc is asked: of names, a word that they have in them."""
    query = {tag: value for tag, value in parameters.items() if len(tag) == 8}
    if "fuzzymatching" in parameters and _PATIENT_NAME in query:
        query[_PATIENT_NAME] = f"*{query[_PATIENT_NAME]}*"
    return query


def _model(attributes: Mapping[str, str]) -> dict[str, Any]:
    """A match in the DICOM JSON model (PS3.18 annex F)."""
    return {
        tag: {"vr": kind, "Value": values}
        for tag, text in attributes.items()
        if (kind := _representation(tag)) not in UNREAD and (values := _values(kind, text))
    }


def _values(kind: str, text: str) -> list[str]:
    parts = [text] if kind in _ONE_TEXT else text.split("\\")
    values = [part.strip(_PADDING) for part in parts]
    return values if any(values) else []


def _representation(tag: str) -> str:
    try:
        return dictionary_VR(int(tag, 16)).partition(" ")[0]
    except (KeyError, ValueError):
        return "UN"


def _unavailable(error: OrthancError) -> StoreError:
    gone = isinstance(error, OrthancGoneError)
    reason = StoreReason.NOT_FOUND if gone else StoreReason.UNAVAILABLE
    return StoreError(f"Orthanc: {error}", reason=reason, retryable=not gone)
