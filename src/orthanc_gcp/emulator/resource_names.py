"""Resource names of the Healthcare API (REST reference, ``projects.locations.datasets``)."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["STORE_ID", "DatasetName", "LocationName", "StoreName"]

_ID = r"(?!\.{1,2}(?:/|$))[\w.\-]{1,256}"
_NAME = r"(?!\.{1,2}/)[^/\s\x00-\x1f\x7f]+"

STORE_ID = re.compile(_ID)
"""What a dataset or a store may be called: letters and digits of any script, ``_ - .``.

Not ``.`` or ``..``, which lead elsewhere in a path (RFC 3986 section 5.2.4).
"""

_STORE_NAME = re.compile(
    rf"projects/(?P<project>{_NAME})/locations/(?P<location>{_NAME})"
    rf"/datasets/(?P<dataset>{_ID})/dicomStores/(?P<store>{_ID})"
)


@dataclass(frozen=True)
class LocationName:
    """The name of a location; without a ``location``, that of the project."""

    project: str
    location: str = ""

    @property
    def parent(self) -> LocationName:
        """The name of the project."""
        return LocationName(self.project)

    def __str__(self) -> str:
        project = f"projects/{self.project}"
        return f"{project}/locations/{self.location}" if self.location else project

    def dataset(self, dataset: str) -> DatasetName:
        """Return the name of a dataset here."""
        return DatasetName(self.project, self.location, dataset)


@dataclass(frozen=True)
class DatasetName:
    """The name of a dataset; ``str()`` gives the form that travels in URLs."""

    project: str
    location: str
    dataset: str

    def __str__(self) -> str:
        return f"projects/{self.project}/locations/{self.location}/datasets/{self.dataset}"

    @property
    def parent(self) -> LocationName:
        """The name of its location."""
        return LocationName(self.project, self.location)

    def store(self, store: str) -> StoreName:
        """Return the name of a DICOM store in it."""
        return StoreName(self.project, self.location, self.dataset, store)


@dataclass(frozen=True)
class StoreName:
    """The name of a DICOM store; :meth:`parse` and ``str()`` are inverses."""

    project: str
    location: str
    dataset: str
    store: str

    @classmethod
    def parse(cls, text: str) -> StoreName:
        """Read ``projects/P/locations/L/datasets/D/dicomStores/S``.

        Raises
        ------
        ValueError
            It is no such name; the text says what was expected.
        """
        match = _STORE_NAME.fullmatch(text)
        if match is None:
            raise ValueError(
                f"{text!r} is not the name of a DICOM store: expected "
                "projects/PROJECT/locations/LOCATION/datasets/DATASET/dicomStores/STORE"
            )
        return cls(**match.groupdict())

    @property
    def parent(self) -> DatasetName:
        """The name of its dataset."""
        return DatasetName(self.project, self.location, self.dataset)

    def __str__(self) -> str:
        return f"{self.parent}/dicomStores/{self.store}"
