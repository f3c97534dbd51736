"""What a store has to offer to be searched and read: that of an account, or what stands for one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

__all__ = ["ReadableStore", "SearchableStore"]


class SearchableStore(Protocol):
    """One that can be searched.

    Attributes
    ----------
    connections
        So many searches may go on at once.
    """

    @property
    def connections(self) -> int: ...

    def search(
        self, path: str, parameters: Mapping[str, str], *, depth: int, page: int = 1000
    ) -> Iterator[Mapping[str, Any]]:
        """What a search finds, as :meth:`orthanc_gcp.dicomweb.client.DicomStore.search`."""


class ReadableStore(SearchableStore, Protocol):
    """One whose instances can be read, too."""

    def open(
        self, study: str, series: str, instance: str, *, transfer_syntax: str = "*"
    ) -> AbstractContextManager[Iterator[bytes]]:
        """The file of an instance, as :meth:`orthanc_gcp.dicomweb.client.DicomStore.open`."""

    def retrieve(
        self, study: str, series: str | None = None
    ) -> AbstractContextManager[Iterator[Iterator[bytes]]]:
        """Files, as :meth:`orthanc_gcp.dicomweb.client.DicomStore.retrieve`."""
