"""C-FIND of Orthanc's own DICOM server: what Orthanc and a store have that matches."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian

from orthanc_gcp.dicomweb import query as store_query
from orthanc_gcp.dicomweb.query import Query
from orthanc_gcp.dicomweb.readable import ReadableStore
from orthanc_gcp.gateway.association import Answer
from orthanc_gcp.gateway.figures import Figures
from orthanc_gcp.gateway.find import LIMIT_REACHED, SUCCESS, FindService
from orthanc_gcp.gateway.for_orthanc.local import UNREAD, LocalStore
from orthanc_gcp.gateway.for_orthanc.merged import MergedStore
from orthanc_gcp.gateway.peers import printable_aet
from orthanc_gcp.gateway.request import FindRequest, Level, request_of
from orthanc_gcp.orthanc.find import NO_LIMITS, FindLimits
from orthanc_gcp.orthanc.rest import OrthancRest

__all__ = ["FindAnswers", "OrthancFinder"]

_log = logging.getLogger(__name__)

CLOUD_WITHIN = 8.0
"""Seconds for what the store has: Orthanc answers one C-FIND at a time."""
NOT_AGAIN_FOR = 15.0
"""Seconds for which a store is not asked that did not answer in time."""
MOST_ANSWERS = 20_000
_AT_ONCE = 8
_FIND_MODEL = UID("1.2.840.10008.5.1.4.1.2.1.1")
_PATHS = {
    Level.PATIENT: store_query.Level.STUDY,
    Level.STUDY: store_query.Level.STUDY,
    Level.SERIES: store_query.Level.SERIES,
    Level.IMAGE: store_query.Level.INSTANCE,
}
_NOT_OF_ORTHANC = frozenset({"00080005", "00080052", "00080054", "00080056", "00080061"})


@dataclass(frozen=True)
class FindAnswers:
    """What is answered to a C-FIND.

    Attributes
    ----------
    identifiers
        Those of the responses, each a DICOM file (PS3.10).
    is_whole
        Whether nothing that matches is missing: it was cut, or the store could not be asked.
    """

    identifiers: list[bytes]
    is_whole: bool


class OrthancFinder:
    """Answers for Orthanc; several threads may use it at once.

    Parameters
    ----------
    account_of
        The account of the AE title that was called; None for none.
    most
        So many answers at most; 0 for as many as can be.
    limits
        Those of Orthanc.
    """

    def __init__(
        self,
        orthanc: OrthancRest,
        finder: FindService,
        stores: Mapping[str, ReadableStore],
        account_of: Callable[[str], str | None],
        renew: Callable[[str], None],
        figures: Figures,
        most: int = 0,
        limits: FindLimits = NO_LIMITS,
    ) -> None:
        self._orthanc, self._finder, self._stores = orthanc, finder, stores
        self._account_of, self._renew, self._figures = account_of, renew, figures
        self._most = min(most or MOST_ANSWERS, MOST_ANSWERS)
        self._limits = limits
        self._pool = ThreadPoolExecutor(_AT_ONCE, "gcp-for-orthanc")
        self._lock = threading.Lock()
        self._not_before: dict[str, float] = {}

    def close(self) -> None:
        """Search no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def __call__(self, values: Mapping[str, str], calling: str, called: str) -> FindAnswers:
        """What matches a query.

        Parameters
        ----------
        values
            Tag, eight hexadecimal digits -> what it is to match.

        Raises
        ------
        IdentifierError
            It is no query.
        StoreError
            Orthanc does not answer.
        """
        began, request = time.monotonic(), request_of(values)
        store, local, account = self._merged(request, called, began + CLOUD_WITHIN)
        answers: list[bytes] = []
        last = SUCCESS
        for one in self._answers(store, account, request, called):
            if one.match is None:
                last = one.status
            elif len(answers) < self._most:
                answers.append(_file(one.match))
            else:
                last = LIMIT_REACHED
                break
        if local.is_cut:
            last = LIMIT_REACHED
        seconds = time.monotonic() - began
        if account is not None and store.is_slow:
            with self._lock:
                self._not_before[account] = time.monotonic() + NOT_AGAIN_FOR
        self._figures.ended("C-FIND", last, seconds)
        self._say(calling, called, len(answers), seconds, last, store.lacking)
        asked_all = account is None or not store.lacking
        return FindAnswers(answers, is_whole=last != LIMIT_REACHED and asked_all)

    def _answers(
        self, store: MergedStore, account: str | None, request: FindRequest, called: str
    ) -> Iterator[Answer]:
        of, title = account or "", called.strip()
        return self._finder.answers(store, of, request, title, lambda: False)

    def _merged(
        self, request: FindRequest, called: str, deadline: float
    ) -> tuple[MergedStore, LocalStore, str | None]:
        level = Query(_PATHS[request.level], request.keys).search_level
        wanted = [
            tag
            for tag, one in request.wanted.items()
            if tag not in _NOT_OF_ORTHANC
            and not tag.startswith("002012")
            and one.representation not in UNREAD
        ]
        local = LocalStore(self._orthanc, level.path, wanted, self._limits)
        account = self._account_of(called)
        cloud = None if account is None else self._stores[account]
        with self._lock:
            resting = account is not None and self._not_before.get(account, 0) > time.monotonic()

        def left() -> float:
            return deadline - time.monotonic()

        def renew() -> None:
            if account is not None:
                self._renew(account)

        merged = MergedStore(local, None if resting else cloud, self._pool, left, renew)
        if cloud is None:
            merged.lacking = "no account has the AE title that was called"
        elif resting:
            merged.lacking = "it did not answer in time before"
        return merged, local, account

    def _say(
        self, calling: str, called: str, number: int, seconds: float, last: int, lacking: str
    ) -> None:
        more = ", and there are more: they are left out" if last == LIMIT_REACHED else ""
        _log.log(
            logging.WARNING if lacking or more else logging.INFO,
            "C-FIND of %s at Orthanc, which called %s: %d answers in %.1f s%s%s",
            *(printable_aet(calling), printable_aet(called), number, seconds, more),
            f", only of what Orthanc holds: the store: {lacking}" if lacking else "",
        )


def _file(match: Dataset) -> bytes:
    """A match as Orthanc takes it (PS3.10)."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = meta.MediaStorageSOPInstanceUID = _FIND_MODEL
    match.file_meta = meta
    content = BytesIO()
    dcmwrite(content, match, enforce_file_format=True)
    return content.getvalue()
