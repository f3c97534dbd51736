"""Locations, in which datasets are (``google.cloud.location.Locations``)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from starlette.responses import Response

from orthanc_gcp.emulator.healthcare.paging import result_page
from orthanc_gcp.emulator.healthcare.request_context import RequestContext
from orthanc_gcp.emulator.http.responses import Refusal, error, json_answer

__all__ = ["get_location", "list_locations", "require_location"]

_REGIONS = frozenset(
    (
        *("asia-east1", "asia-northeast1", "asia-northeast3", "asia-south1", "asia-southeast1"),
        *("australia-southeast1", "eu", "europe-west1", "europe-west2", "europe-west3"),
        *("europe-west4", "europe-west6", "northamerica-northeast1", "southamerica-east1", "us"),
        *("us-central1", "us-east1", "us-east4", "us-west1", "us-west2"),
    )
)


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
    """Handle ``locations.get``; raise as :func:`require_location` does."""
    await require_location(context)
    return json_answer(_body(context.names["project"], context.names["location"]))


async def require_location(context: RequestContext) -> None:
    """Raise :class:`Refusal` when there is no such location (404) or project (403 or 404)."""
    if context.names["location"] not in await asyncio.to_thread(_known, context):
        raise Refusal(error(404, f"location not found: {context.location}"))


def _known(context: RequestContext) -> frozenset[str]:
    """Return the locations of a project: those of its datasets too. Refuse another project."""
    project = context.location.parent
    own = {body["name"].split("/")[3] for body in context.storage.resources.datasets(project)}
    if not own and project.project != context.services.identities.service_accounts[0].project:
        raise context.missing(str(project))
    return _REGIONS | own


def _body(project: str, location: str) -> dict[str, Any]:
    return {"name": f"projects/{project}/locations/{location}", "locationId": location}
