"""Lists by pages (AIP-158), with a filter: ``pageSize``, ``pageToken``, ``filter``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from starlette.requests import Request

from orthanc_gcp.emulator.healthcare.list_filter import InvalidFilterError, parse_filter
from orthanc_gcp.emulator.http.requests import page_size
from orthanc_gcp.emulator.http.responses import Refusal, error

__all__ = ["result_page"]


def result_page(
    request: Request, field: str, find: Callable[[str], Iterator[dict[str, Any]]]
) -> dict[str, Any]:
    """Return the page that a request asks for; its token is the last name on it.

    ``find`` yields the resources whose names come after another, in order; they stand in ``field``
    of the answer. Raises :class:`Refusal` (400) for a size or a filter that is none.
    """
    query = request.query_params
    size = page_size(request)
    try:
        matches = parse_filter(query.get("filter", ""))
    except InvalidFilterError as problem:
        raise Refusal(error(400, f"invalid filter: {problem}")) from problem
    found = list(islice(filter(matches, find(query.get("pageToken", ""))), size + 1))
    resources = found[:size]
    answer: dict[str, Any] = {field: resources} if resources else {}
    if len(found) > size:
        answer["nextPageToken"] = resources[-1]["name"]
    return answer
