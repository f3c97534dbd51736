"""What the store of an account has, within the limits of the account.

Studies and instances are found by searches (QIDO-RS, PS3.18 §10.6), bytes are retrieved (WADO-RS,
§10.4).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from sys import intern
from typing import TypeVar

from orthanc_gcp.custody.audit.findings import Uids
from orthanc_gcp.custody.audit.retries import Retries
from orthanc_gcp.dicomweb import DicomStore, StoreError
from orthanc_gcp.errors import GcpError
from orthanc_gcp.ledger.uids import storable, uid_fault
from orthanc_gcp.reasons import StoreReason

__all__ = ["READERS", "Content", "StoreReader"]

READERS = 4
"""Instances of one account that are read at once."""
_INSTANCES, _STUDIES = 5000, 1000
_PORTION = 64

Item = TypeVar("Item")


@dataclass(frozen=True)
class Content:
    """The digests of an instance as the store gives it back.

    Attributes
    ----------
    sha256, md5
        In hexadecimal digits; both empty where the store has it not, or it could not be read.
    error
        Why it could not be read.
    """

    sha256: str = ""
    md5: str = ""
    error: str = ""


class StoreReader:
    """Asks one store, again where it is busy or away for a moment.

    Parameters
    ----------
    wait_for_request
        Returns when the account's limit on requests allows one more.
    renew_token
        Called when the store refuses the account's token.
    wait
        Sleeps for some seconds; True says that the audit is to end.
    stopping
        Whether the audit is to end.
    readers
        Instances that are read at once.
    """

    def __init__(
        self,
        client: DicomStore,
        wait_for_request: Callable[[], None],
        renew_token: Callable[[], object],
        wait: Callable[[float], bool],
        stopping: Callable[[], bool] = lambda: False,
        readers: int = READERS,
    ) -> None:
        self.client, self._wait_for_request = client, wait_for_request
        self._renew_token, self._stopping, self._readers = renew_token, stopping, readers
        self._retries = Retries(wait, wait_for_request)

    def studies(self, add: Callable[[str], object]) -> None:
        """Hand over the Study Instance UIDs of all studies; one may come several times.

        Raises
        ------
        StoreError
            The store cannot be asked, or not to the end.
        """

        def listed() -> None:
            for study in self._paged(self.client.studies(page=_STUDIES), _STUDIES):
                add(storable(study))

        self._retries.ask(listed, self._pause)

    def instances(self, study: str) -> set[Uids]:
        """The instances of a study; what no request can ask for is not there.

        Raises
        ------
        StoreError
            The store cannot be asked.
        """
        if uid_fault(study, "1", "1") is not None:
            return set()

        def listed() -> set[Uids]:
            found = self._paged(self.client.instances(study, page=_INSTANCES), _INSTANCES)
            return {
                Uids(study, intern(storable(one[1])), storable(one[2]))
                for one in found
                if one.study_instance_uid == study
            }

        return self._retries.ask(listed, self._pause)

    def contents(self, instances: Sequence[Uids]) -> Iterator[Content]:
        """The digests of some instances, in their order; a few are read at once."""
        with ThreadPoolExecutor(self._readers) as pool:
            for start in range(0, len(instances), _PORTION):
                yield from pool.map(self._content, instances[start : start + _PORTION])

    def _paged(self, found: Iterable[Item], page: int) -> Iterator[Item]:
        """What a search finds; each page but the first, too, waits until it may be asked for."""
        for number, one in enumerate(found, 1):
            yield one
            if number % page == 0:
                self._wait_for_request()

    def _content(self, uids: Uids) -> Content:
        try:
            return self._retries.ask(partial(self._read, uids), self._pause)
        except StoreError as error:
            return Content() if error.status == 404 else Content(error=str(error))

    def _read(self, uids: Uids) -> Content:
        sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        self._stop_if_asked()
        with self.client.open(*uids) as pieces:
            for piece in pieces:
                self._stop_if_asked()
                sha256.update(piece)
                md5.update(piece)
        return Content(sha256.hexdigest(), md5.hexdigest())

    def _stop_if_asked(self) -> None:
        if self._stopping():
            raise StoreError("stopped", reason=StoreReason.ABORTED)

    def _pause(self, error: GcpError) -> float | None:
        if not isinstance(error, StoreError):
            return None
        if error.status == 401:
            self._renew_token()
            return error.retry_after or 0
        return (error.retry_after or 0) if error.retryable else None
