"""What the page lists: stores, their studies, and what is in those, some at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.config import IGNORE
from pydicom.uid import UID

from orthanc_gcp.emulator.dicomweb.search_parameters import MAX_OFFSET
from orthanc_gcp.emulator.http.responses import Refusal, error
from orthanc_gcp.emulator.resource_names import StoreName
from orthanc_gcp.emulator.storage.storage import Storage

__all__ = ["AT_ONCE", "MAX_TEXT", "Listings", "natural_number", "shorten", "store_row", "uid_name"]

AT_ONCE = 20
"""How many stores, studies, series or instances are listed at a time."""
MAX_TEXT = 300
"""How many characters of an attribute are shown."""

_SERIES_NUMBER, _SERIES_DESCRIPTION, _INSTANCE_NUMBER = "00200011", "0008103E", "00200013"

Query = Mapping[str, str]
Json = dict[str, Any]


@dataclass(frozen=True)
class Listings:
    """Lists what the query of a request names: ``store``, ``study``, ``series`` and ``offset``.

    Each raises :class:`Refusal`: 404 for a store that there is not, 400 for an offset that cannot
    be. Of a study or series that there is not, the list is empty.
    """

    storage: Storage

    def stores(self, query: Query) -> Json:
        """List the stores of every dataset, by name, with how much is in them."""
        offset = _offset(query)
        found = self.storage.resources.all_stores(offset + AT_ONCE + 1)[offset:]
        stores = [
            {"name": name, **self.storage.index.totals(row)._asdict()}
            for row, name in found[:AT_ONCE]
        ]
        return {"stores": stores, "more": len(found) > AT_ONCE}

    def studies(self, query: Query) -> Json:
        """List studies of a store, those that came last first."""
        store, offset = store_row(self.storage, query), _offset(query)
        found = self.storage.index.latest_studies(store, offset, AT_ONCE + 1)
        studies = [
            {name: _cut_unless_key(name, value) for name, value in study._asdict().items()}
            for study in found
        ]
        return _page("studies", studies)

    def series(self, query: Query) -> Json:
        """List series of a study, those that came first first."""
        store, offset = store_row(self.storage, query), _offset(query)
        study = query.get("study", "")
        found = self.storage.index.first_series(store, study, offset, AT_ONCE + 1)
        return _page(
            "series",
            [
                {
                    "uid": series.uid,
                    "modality": shorten(series.modality),
                    "number": _first_value(series.attributes, _SERIES_NUMBER),
                    "description": _first_value(series.attributes, _SERIES_DESCRIPTION),
                    "instances": series.instances,
                }
                for series in found
            ],
        )

    def instances(self, query: Query) -> Json:
        """List instances of a series, those that came first first; ``size`` is in bytes."""
        store, offset = store_row(self.storage, query), _offset(query)
        study, series = query.get("study", ""), query.get("series", "")
        found = self.storage.index.first_instances(store, study, series, offset, AT_ONCE + 1)
        return _page(
            "instances",
            [
                {
                    "uid": instance.uid,
                    "number": _first_value(instance.attributes, _INSTANCE_NUMBER),
                    "sop_class": uid_name(instance.sop_class),
                    "transfer_syntax": uid_name(instance.transfer_syntax),
                    "size": instance.size,
                    "sha256": instance.sha256.hex(),
                }
                for instance in found
            ],
        )


def store_row(storage: Storage, query: Query) -> int:
    """Return the row of the store that a query names; raise :class:`Refusal` (404) for none."""
    try:
        row = storage.resources.store_id(StoreName.parse(query.get("store", "")))
    except ValueError:
        row = None
    if row is None:
        raise Refusal(error(404, "there is no such store"))
    return row


def natural_number(query: Query, name: str, least: int, most: int) -> int:
    """Return a number of a query, ``least`` by default; raise :class:`Refusal` (400) for others."""
    text = query.get(name, str(least))
    if not (text.isascii() and text.isdigit()) or not least <= int(text[:12]) <= most:
        raise Refusal(error(400, f"{name} is a number from {least} to {most}"))
    return int(text[:12])


def shorten(text: str) -> str:
    """Return a text as far as it is shown."""
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"


def uid_name(uid: str) -> str:
    """Return the name of a UID in DICOM PS3.6, or the UID itself."""
    return shorten(UID(uid, IGNORE).name)


def _offset(query: Query) -> int:
    return natural_number(query, "offset", 0, MAX_OFFSET)


def _page(name: str, found: Sequence[Json]) -> Json:
    return {name: found[:AT_ONCE], "more": len(found) > AT_ONCE}


def _cut_unless_key(name: str, value: Any) -> Any:
    return shorten(value) if isinstance(value, str) and name != "uid" else value


def _first_value(attributes: str, tag: str) -> str:
    """Return the first value of an attribute in DICOM JSON as a text."""
    values = json.loads(attributes).get(tag, {}).get("Value") or [""]
    return "" if values[0] is None else shorten(str(values[0]))
