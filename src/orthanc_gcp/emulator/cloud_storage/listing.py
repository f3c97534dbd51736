"""Lists of objects and buckets, by pages (JSON API, ``objects.list`` and ``buckets.list``)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass, field

from starlette.requests import Request

from orthanc_gcp.emulator.cloud_storage.answers import invalid
from orthanc_gcp.emulator.cloud_storage.buckets import Buckets
from orthanc_gcp.emulator.cloud_storage.preconditions import number

__all__ = ["Page", "Query", "list_names", "page_token"]

MAX_RESULTS = 1000
_LAST = "\U0010ffff"
"""Comes after everything that a name has, practically."""


@dataclass(frozen=True)
class Query:
    """What a list is asked for.

    ``start`` and ``end`` bound the names: from the one, to before the other; ``after`` is where
    the page before ended.
    """

    prefix: str = ""
    delimiter: str = ""
    start: str = ""
    end: str = ""
    after: str = ""
    limit: int = MAX_RESULTS

    @classmethod
    def of_request(cls, request: Request) -> Query:
        """Read the parameters of a request; raise :class:`Refusal` (400) for one that cannot be."""
        query = request.query_params
        for unknown in ("matchGlob", "filter"):
            if query.get(unknown):
                raise invalid(f"The emulator's lists have no {unknown}.", location=unknown)
        limit = number(request, "maxResults")
        return cls(
            query.get("prefix", ""),
            query.get("delimiter", ""),
            query.get("startOffset", ""),
            query.get("endOffset", ""),
            _decoded(query.get("pageToken", "")),
            min(limit or MAX_RESULTS, MAX_RESULTS),
        )


@dataclass
class Page:
    """The names on a page, what they have in common up to the delimiter, and the next page."""

    names: list[str] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    next_token: str = ""


def list_names(buckets: Buckets, bucket: str, query: Query) -> Page:
    """Return a page of the names of a bucket's objects.

    Raises :class:`UnavailableError` when there is no such bucket.
    """
    page, last = Page(), ""
    for name in _entries(buckets, bucket, query):
        if len(page.names) + len(page.prefixes) == query.limit:
            page.next_token = page_token(last)
            break
        if _common(name, query) is None:
            page.names.append(name)
            last = name
        else:
            page.prefixes.append(name)
            last = name + _LAST
    return page


def _entries(buckets: Buckets, bucket: str, query: Query) -> Iterator[str]:
    """Yield names, and in the place of many the prefix that they have in common."""
    after: str | None = query.after
    while after is not None:
        names, after = buckets.object_names(bucket, query.prefix, after), None
        for name in names:
            if name < query.start:
                continue
            if query.end and name >= query.end:
                return
            common = _common(name, query)
            yield common or name
            if common is not None:
                # Whatever else begins like this is left out without looking at it.
                after = common + _LAST
                break


def _common(name: str, query: Query) -> str | None:
    """Return what a name is shown by when it has the delimiter after the prefix."""
    if not query.delimiter:
        return None
    head, found, _ = name[len(query.prefix) :].partition(query.delimiter)
    return query.prefix + head + query.delimiter if found else None


def page_token(name: str) -> str:
    """Return what asks for the page after a name."""
    return base64.urlsafe_b64encode(name.encode()).decode()


def _decoded(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise invalid("Invalid page token", location="pageToken") from None
