"""QIDO-RS: searches for studies, series and instances (DICOM PS3.18 section 10.6)."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from starlette.responses import Response

from orthanc_gcp.emulator.dicom.dicom_json import JsonWriter, readable
from orthanc_gcp.emulator.dicom.listing import Listing, choose_listing
from orthanc_gcp.emulator.dicom.reader import PIXEL_GROUP, DicomFile, FileSource
from orthanc_gcp.emulator.dicom.search_attributes import (
    INSTANCE,
    SERIES,
    STUDY,
    Level,
    levels_to,
)
from orthanc_gcp.emulator.dicomweb.search_parameters import (
    InvalidQueryError,
    ResultPage,
    SearchQuery,
    parse_query,
)
from orthanc_gcp.emulator.healthcare.request_context import RequestContext
from orthanc_gcp.emulator.http.responses import Refusal, text_error
from orthanc_gcp.emulator.http.streaming import Streamed
from orthanc_gcp.emulator.storage.records import (
    Header,
    InstanceKey,
    level_attributes,
    resource_path,
)

__all__ = ["search_instances", "search_series", "search_studies"]

_AVAILABILITY, _RETRIEVE_URL = "00080056", "00081190"

_BATCH = 256 * 1024
"""How many bytes of matches are made at a time."""

_FEW, _SMALL = 10, 64 * 1024
"""How many matches, with how many characters, are written as fast as handed to a thread."""

_MAX_ROWS, _MAX_SIZE = 5000, 8 * 1024 * 1024
"""How many rows, with how many characters, are in memory at a time."""

_LEVELS_KNOWN = 8
"""How many levels of the rows before are remembered."""

Row = tuple[str, ...]
"""What :meth:`SearchQuery.sql` selects."""


async def search_studies(context: RequestContext) -> Response:
    """Handle ``GET …/studies``.

    Raises :class:`Refusal` when the parameters are wrong (400), when there is no such store (403 or
    404), or no acceptable media type (406).
    """
    return await _search(context, STUDY)


async def search_series(context: RequestContext) -> Response:
    """Handle ``GET …/series``, of a store or of a study, as :func:`search_studies` does."""
    return await _search(context, SERIES)


async def search_instances(context: RequestContext) -> Response:
    """Handle ``GET …/instances`` of a store, study or series, as :func:`search_studies` does."""
    return await _search(context, INSTANCE)


async def _search(context: RequestContext, level: Level) -> Response:
    store = context.store_id()
    listing = choose_listing(context.request)
    try:
        query = parse_query(level, context.request.query_params.multi_items())
    except InvalidQueryError as error:
        raise Refusal(text_error(400, str(error))) from error
    search = Search(context, store, query)
    rows = await asyncio.to_thread(search.next_rows)
    if not rows and context.services.fault_settings.current.empty_qido == 204:
        return Response(status_code=204)
    if search.reads_files or search.has_more:
        # Matches may be large then: they leave before others are made.
        matches = _in_batches(listing.encode(search.match(*row)) for row in search.all_rows(rows))
        return Streamed(listing.stream(matches), listing.media_type)
    if len(rows) <= _FEW and sum(map(len, chain.from_iterable(rows))) <= _SMALL:
        content = _join(search, rows, listing)
    else:
        content = await asyncio.to_thread(_join, search, rows, listing)
    return Response(content, media_type=listing.media_type)


def _join(search: Search, rows: Sequence[Row], listing: Listing) -> bytes:
    return listing.join(listing.encode(search.match(*row)) for row in rows)


async def _in_batches(matches: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield matches, which another thread makes; few of them wait."""
    while batch := await asyncio.to_thread(_next_batch, matches):
        for match in batch:
            yield match


def _next_batch(matches: Iterator[bytes]) -> list[bytes]:
    batch: list[bytes] = []
    size = 0
    for match in matches:
        batch.append(match)
        size += len(match)
        if size >= _BATCH:
            break
    return batch


class Search:
    """Finds rows of the index of a store, and turns them into matches."""

    def __init__(self, context: RequestContext, store: int, query: SearchQuery) -> None:
        self._context = context
        self._store = store
        self._after: int | None = None
        self._left = query.limit
        self._query = query
        self._url = context.dicomweb_url
        levels = levels_to(query.level)
        # The attributes of a level whose UID is in the path are not repeated.
        named = sum(1 for name in ("study", "series") if name in context.names)
        wanted = {tag for level in levels[named:] for tag in level.defaults} | query.include
        if query.include_all:
            wanted |= {tag for level in levels[named:] for tag in level.all}
        self._wanted = {f"{tag:08X}" for tag in wanted}
        # Instances of one series come one after the other, and share the levels above.
        self._level = lru_cache(_LEVELS_KNOWN)(self._read_level)
        indexed = {tag for level in levels for tag in (*level.defaults, *level.all)}
        self._from_file = frozenset(query.include - indexed)
        self._whole_file = query.include_all and query.level is INSTANCE

    @property
    def reads_files(self) -> bool:
        """Whether the index alone does not suffice."""
        return self._whole_file or bool(self._from_file)

    @property
    def has_more(self) -> bool:
        """Whether there may be more rows than those that have been read."""
        return self._left > 0

    def all_rows(self, rows: Sequence[Row]) -> Iterator[Row]:
        """Yield the first rows and all others."""
        while rows:
            yield from rows
            rows = self.next_rows() if self.has_more else ()

    def next_rows(self) -> Sequence[Row]:
        """Return what the index has of the next matches, of as many as are to be in memory."""
        names = self._context.names
        statement, values = self._query.sql(
            self._store,
            names.get("study"),
            names.get("series"),
            ResultPage(self._left, self._after),
            with_file=self.reads_files,
        )
        return self._context.storage.search_lag.read(statement, values, self._some)

    def _some(self, found: Iterator[tuple[Any, ...]]) -> Sequence[Row]:
        """Return the first of some rows."""
        rows: list[Row] = []
        size = 0
        # Of the levels above, many rows have the same.
        known: dict[str, str] = {}
        for number, *columns in found:
            rows.append(tuple(known.setdefault(text, text) for text in columns))
            self._after, self._left = number, self._left - 1
            size += sum(map(len, columns))
            if len(rows) >= _MAX_ROWS or size >= _MAX_SIZE:
                return rows
        self._left = 0
        return rows

    def match(self, file: str, *columns: str) -> dict[str, Any]:
        """Return one match in the DICOM JSON Model, given its row (see :meth:`SearchQuery.sql`)."""
        uids, levels = columns[: len(columns) // 2], columns[len(columns) // 2 :]
        known: dict[str, Any] = {}
        for level in levels:
            known.update(self._level(level))
        shown = {tag: value for tag, value in known.items() if tag in self._wanted}
        if self.reads_files:
            shown.update(self._read_file(file, uids))
        shown[_AVAILABILITY] = {"vr": "CS", "Value": ["ONLINE"]}
        shown[_RETRIEVE_URL] = {"vr": "UR", "Value": [f"{self._url}/{resource_path(*uids)}"]}
        return dict(sorted(shown.items()))

    def _read_level(self, attributes: str) -> dict[str, Any]:
        """Return the attributes of a level, with addresses that a client can follow."""
        hook = self._absolute if "BulkDataURI" in attributes else None
        level: dict[str, Any] = json.loads(attributes, object_hook=hook)
        return level

    def _absolute(self, entry: dict[str, Any]) -> dict[str, Any]:
        if "BulkDataURI" in entry:
            entry["BulkDataURI"] = f"{self._url}/{entry['BulkDataURI']}"
        return entry

    def _bulk_data_uri(self, key: InstanceKey) -> Callable[[str], str]:
        return f"{self._url}/{key.path}/bulkdata/".__add__

    def _read_file(self, file: str, uids: tuple[str, ...]) -> dict[str, Any]:
        try:
            descriptor = self._open(file, uids)
        except FileNotFoundError:
            return {}  # deleted since the index was asked
        try:
            dicom = DicomFile(FileSource(descriptor))
            if self._whole_file:
                return JsonWriter(self._bulk_data_uri(InstanceKey(*uids))).file(dicom)
            return self._chosen(dicom)
        finally:
            os.close(descriptor)

    def _open(self, file: str, uids: tuple[str, ...]) -> int:
        """Return a descriptor of a file, or of one that is in its place since the index was asked.

        Raises FileNotFoundError when there is none.
        """
        storage = self._context.storage
        try:
            return storage.open(file)
        except FileNotFoundError:
            found = next(storage.index.batches(self._store, *uids, size=1), None)
            if found is None:
                raise
            _, descriptor = storage.open_current(self._store, found[0])
            return descriptor

    def _chosen(self, dicom: DicomFile) -> dict[str, Any]:
        """Return the attributes that are wanted and are in no level of the index."""
        # As far as uploads are read: elements need not be in the order of their tags.
        stop = max(PIXEL_GROUP, *(tag + 1 for tag in self._from_file))
        elements = {element.tag: element for element in readable(dicom.elements(stop=stop))}
        bulk_data_uri = self._bulk_data_uri(Header(dicom, elements).key)
        meta = [element for element in dicom.meta_elements if element.tag in self._from_file]
        return {
            **JsonWriter(bulk_data_uri).elements(dicom.meta, meta),
            **level_attributes(dicom, elements, self._from_file, bulk_data_uri),
        }
