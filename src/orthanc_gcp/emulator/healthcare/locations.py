"""Locations, in which datasets are (``google.cloud.location.Locations``)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from starlette.responses import Response

from orthanc_gcp.emulator.healthcare.paging import result_page
from orthanc_gcp.emulator.healthcare.request_context import RequestContext
from orthanc_gcp.emulator.http.responses import Refusal, error, json_answer

__all__ = ["get_location", "list_locations", "require_location", "require_project"]

_OFFERED = frozenset(
    (
        *("asia-east1", "asia-northeast1", "asia-northeast3", "asia-south1", "asia-southeast1"),
        *("australia-southeast1", "eu", "europe-west1", "europe-west2", "europe-west3"),
        *("europe-west4", "europe-west6", "northamerica-northeast1", "southamerica-east1", "us"),
        *("us-central1", "us-east1", "us-east4", "us-west1", "us-west2"),
    )
)
_OF_GOOGLE_CLOUD = _OFFERED | frozenset(
    (
        *("africa-south1", "asia-east2", "asia-northeast2", "asia-south2", "asia-southeast2"),
        *("asia-southeast3", "australia-southeast2", "europe-central2", "europe-north1"),
        *("europe-north2", "europe-southwest1", "europe-west8", "europe-west9", "europe-west10"),
        *("europe-west12", "me-central1", "me-central2", "me-west1", "northamerica-northeast2"),
        *("northamerica-south1", "southamerica-west1", "us-east5", "us-south1", "us-west3"),
        *("us-west4", "us-west8"),
    )
)
"""Google may offer the API in more of its regions than are known here."""


async def list_locations(context: RequestContext) -> Response:
    """Handle ``locations.list``.

    Raises :class:`Refusal` for a project that there is not (403 or 404), and as
    :func:`result_page` does.
    """
    known = await asyncio.to_thread(_known, context)

    def find(after: str) -> Iterator[dict[str, Any]]:
        bodies = (_body(context.names["project"], name) for name in sorted(known))
        return (body for body in bodies if body["name"] > after)

    return json_answer(result_page(context.request, "locations", find))


async def get_location(context: RequestContext) -> Response:
    """Handle ``locations.get``; raise as :func:`require_project` does."""
    await require_project(context)
    return json_answer(_body(context.names["project"], context.names["location"]))


def require_location(context: RequestContext) -> None:
    """Raise :class:`Refusal` (400) when a path names what is no location.

    A region of Google Cloud is one, and so is the location of any dataset of the project.
    """
    location = context.location
    if location.location in _OF_GOOGLE_CLOUD or not location.location:
        return
    if next(context.storage.resources.datasets(location), None) is None:
        raise Refusal(error(400, f"location ID invalid: {location.location!r}"))


async def require_project(context: RequestContext) -> None:
    """Raise :class:`Refusal` when there is no such project (403 or 404)."""
    await asyncio.to_thread(_known, context)


def _known(context: RequestContext) -> frozenset[str]:
    """Return the locations of a project: those of its datasets too. Refuse another project."""
    project = context.location.parent
    own = {body["name"].split("/")[3] for body in context.storage.resources.datasets(project)}
    if not own and project.project != context.services.identities.service_accounts[0].project:
        raise context.missing(str(project))
    return _OFFERED | own


def _body(project: str, location: str) -> dict[str, Any]:
    return {"name": f"projects/{project}/locations/{location}", "locationId": location}
