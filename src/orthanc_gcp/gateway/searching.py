"""What services have in common that search the stores of accounts for workstations."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from orthanc_gcp.dicomweb.readable import ReadableStore
from orthanc_gcp.errors import StoreError

__all__ = ["SearchingService"]

_log = logging.getLogger(__name__)

_AT_ONCE = 8


class SearchingService:
    """Several threads may use it at once.

    Parameters
    ----------
    stores
        The store of each account.
    renew
        Is called with an account whose access token was refused.
    """

    def __init__(
        self, stores: Mapping[str, ReadableStore], renew: Callable[[str], None] = lambda _: None
    ) -> None:
        self._stores, self._renew = stores, renew
        self._pool = ThreadPoolExecutor(_AT_ONCE, "gcp-search")

    def close(self) -> None:
        """Search nothing any more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _not_searched(self, account: str, error: StoreError) -> str:
        """Note that a store cannot be searched; what a workstation is told."""
        if error.status == 401:
            self._renew(account)
        _log.warning("the store of %s cannot be searched: %s", account, error)
        return f"the store: {error.reason}"
