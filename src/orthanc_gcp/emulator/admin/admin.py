"""The emulator's fault settings, as tests show and set them over HTTP."""

from __future__ import annotations

import json

from starlette.requests import Request
from starlette.responses import Response

from orthanc_gcp.emulator.faults.fault_settings import FaultSettings, SettingError
from orthanc_gcp.emulator.http.requests import MAX_REQUEST_SIZE, read_limited
from orthanc_gcp.emulator.http.responses import Refusal, error, json_answer, page_not_found

__all__ = ["Admin"]


class Admin:
    """Shows and sets the fault settings; there for tests, so it asks for no credential.

    A call raises :class:`Refusal`: 400 for settings that there are not or that cannot be so, 404
    for other methods than GET and PATCH.
    """

    PATH = "/emulator/state"

    def __init__(self, fault_settings: FaultSettings) -> None:
        self._fault_settings = fault_settings

    async def __call__(self, request: Request) -> Response:
        if request.method == "PATCH":
            self._change(await read_limited(request, MAX_REQUEST_SIZE))
        elif request.method != "GET":
            raise Refusal(page_not_found())
        return json_answer(self._fault_settings.as_json())

    def _change(self, body: bytes) -> None:
        try:
            changes = json.loads(body)
        except (ValueError, RecursionError):
            changes = None
        if not isinstance(changes, dict):
            raise Refusal(error(400, "a JSON object of fault settings is expected"))
        try:
            self._fault_settings.change(**changes)
        except SettingError as problem:
            raise Refusal(error(400, str(problem))) from problem
