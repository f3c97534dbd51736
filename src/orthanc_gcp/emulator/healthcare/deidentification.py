"""De-identification, which is not emulated (methods ``deidentify`` of datasets and stores)."""

from __future__ import annotations

from starlette.responses import Response

from orthanc_gcp.emulator.healthcare.dicom_stores import require_resource
from orthanc_gcp.emulator.healthcare.request_context import RequestContext
from orthanc_gcp.emulator.http.requests import read_object
from orthanc_gcp.emulator.http.responses import Refusal, error

__all__ = ["deidentify"]


async def deidentify(context: RequestContext) -> Response:
    """Handle ``deidentify`` of a dataset or a store.

    Raises :class:`Refusal` always: for a resource that there is not (403 or 404), for a body that
    is no object (400), and because nothing is de-identified here (501).
    """
    require_resource(context)
    await read_object(context.request)
    raise Refusal(error(501, "The emulator does not de-identify: nothing was read or written."))
