"""The emulator's switches, as tests show and set them over HTTP."""

from __future__ import annotations

import json

from starlette.requests import Request
from starlette.responses import Response

from orthanc_gcp.emulator.faults.switches import SwitchError, Switches
from orthanc_gcp.emulator.http.requests import MAX_REQUEST_SIZE, read_limited
from orthanc_gcp.emulator.http.responses import Refusal, error, json_answer, page_not_found

__all__ = ["Admin"]


class Admin:
    """Shows and sets the switches; there for tests, so it asks for no credential."""

    PATH = "/emulator/state"

    def __init__(self, switches: Switches) -> None:
        self._switches = switches

    async def __call__(self, request: Request) -> Response:
        if request.method == "PATCH":
            self._change(await read_limited(request, MAX_REQUEST_SIZE))
        elif request.method != "GET":
            raise Refusal(page_not_found())
        return json_answer(self._switches.as_json())

    def _change(self, body: bytes) -> None:
        try:
            changes = json.loads(body)
        except (ValueError, RecursionError):
            changes = None
        if not isinstance(changes, dict):
            raise Refusal(error(400, "a JSON object of switches is expected"))
        try:
            self._switches.change(**changes)
        except SwitchError as problem:
            raise Refusal(error(400, str(problem))) from problem
