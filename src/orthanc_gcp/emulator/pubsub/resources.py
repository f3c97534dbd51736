"""What topics and subscriptions have in common: names, lists, and what is said of wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from orthanc_gcp.emulator.http.requests import page_size
from orthanc_gcp.emulator.http.responses import Refusal, error, json_answer
from orthanc_gcp.emulator.storage.database import Database

__all__ = ["already_exists", "invalid_name", "list_resources", "not_found", "project_of"]


def project_of(name: str) -> str:
    """Return the name of the project that a topic or subscription belongs to."""
    return "/".join(name.split("/")[:2])


def not_found(name: str) -> Refusal:
    """Return the 404 of a topic or subscription that there is not."""
    return Refusal(error(404, f"Resource not found (resource={name.rpartition('/')[2]})."))


def already_exists(name: str) -> Refusal:
    """Return the 409 of a name that is taken."""
    resource = name.rpartition("/")[2]
    return Refusal(error(409, f"Resource already exists in the project (resource={resource})."))


def invalid_name(kind: str, name: str) -> Refusal:
    """Return the 400 of a name that Google does not take."""
    return Refusal(error(400, f"Invalid [{kind}] name: (name={name})"))


def list_resources(
    database: Database,
    request: Request,
    field: str,
    query: str,
    under: str,
    read: Callable[[str], Any],
) -> Response:
    """Return one page of a list (AIP-158), whose token for the next one is the last name on it.

    Parameters
    ----------
    field : str
        What the list is called in the answer, which lacks it when the list is empty.
    query : str
        SQL that takes a parent, the name after which to go on, and a limit; it gives the names in
        their order, each with what ``read`` makes a resource of.
    under : str
        The parent.

    Raises
    ------
    Refusal
        ``pageSize`` is no number, or below 0.
    """
    size = page_size(request)
    after = request.query_params.get("pageToken", "")
    rows = database.read(query, (under, after, size + 1)).fetchall()
    answer: dict[str, Any] = {}
    if rows:
        answer[field] = [read(value) for _, value in rows[:size]]
    if len(rows) > size:
        answer["nextPageToken"] = rows[size - 1][0]
    return json_answer(answer)
