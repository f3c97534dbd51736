"""What the plugin asks the gateway for on behalf of Orthanc's own DICOM server."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from orthanc_gcp.errors import StoreError
from orthanc_gcp.gateway.for_orthanc.moves import Asked, MoveState
from orthanc_gcp.gateway.for_orthanc.service import ForOrthanc
from orthanc_gcp.gateway.request import IdentifierError
from orthanc_gcp.logs import places

__all__ = ["routes_for_orthanc"]

_log = logging.getLogger(__name__)

LONGEST_WAIT = 3.0
"""Seconds that one who asks how far a C-MOVE is waits at most."""
_KEYS = ("PatientID", "AccessionNumber", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


class _NoRequestError(Exception):
    """What was sent is none."""


def routes_for_orthanc(service: ForOrthanc) -> list[Route]:
    """``find`` and ``moves`` below ``/gcp/gateway``."""

    async def found(request: Request) -> Response:
        body = await request.body()
        return await run_in_threadpool(_answered, body, lambda asked: _found(service, asked))

    async def moved(request: Request) -> Response:
        body = await request.body()
        return await run_in_threadpool(_answered, body, lambda asked: _begun(service, asked))

    def shown(request: Request) -> Response:
        after = request.query_params.get("after", "-1")
        number = int(after) if after.isdecimal() else -1
        state = service.moves.state(request.path_params["name"], number, LONGEST_WAIT)
        return _refusal(404, "there is no such C-MOVE") if state is None else _state(state)

    def ended(request: Request) -> Response:
        service.moves.end(request.path_params["name"])
        return JSONResponse({})

    return [
        Route("/gcp/gateway/find", found, methods=["POST"]),
        Route("/gcp/gateway/moves", moved, methods=["POST"]),
        Route("/gcp/gateway/moves/{name}", shown, methods=["GET"]),
        Route("/gcp/gateway/moves/{name}", ended, methods=["DELETE"]),
    ]


def _answered(body: bytes, answer: Callable[[dict[str, Any]], Response]) -> Response:
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        asked = None
    try:
        return answer(asked if isinstance(asked, dict) else {})
    except _NoRequestError:
        return _refusal(400, "this is no such request")
    except IdentifierError as error:
        return _refusal(400, str(error))
    except StoreError as error:
        return _refusal(503, str(error))
    except Exception as error:
        _log.error("Orthanc cannot be answered\n%s", places(error))
        return _refusal(500, "it failed unexpectedly")


def _found(service: ForOrthanc, asked: dict[str, Any]) -> Response:
    query = asked.get("Query")
    if not isinstance(query, dict):
        raise _NoRequestError
    texts = {tag: value for tag, value in query.items() if isinstance(value, str)}
    found = service.find(texts, _text(asked, "CallingAet"), _text(asked, "CalledAet"))
    answers = [base64.b64encode(one).decode() for one in found.identifiers]
    return JSONResponse({"Answers": answers, "Whole": found.is_whole})


def _begun(service: ForOrthanc, asked: dict[str, Any]) -> Response:
    message = asked.get("OriginatorID")
    if not isinstance(message, int):
        raise _NoRequestError
    move = Asked(
        _text(asked, "Level"),
        {name: _text(asked, name) for name in _KEYS},
        _text(asked, "OriginatorAET"),
        _text(asked, "SourceAET"),
        _text(asked, "TargetAET"),
        message,
    )
    name = service.moves.begin(move)
    return _refusal(503, "too many go on") if name is None else JSONResponse({"Move": name})


def _text(asked: dict[str, Any], name: str) -> str:
    value = asked.get(name, "")
    if not isinstance(value, str):
        raise _NoRequestError
    return value


def _state(state: MoveState) -> Response:
    shown: dict[str, Any] = {
        "Size": state.size,
        "Completed": state.completed,
        "Failed": state.failed,
        "Over": state.is_over,
        "Refused": state.refused,
    }
    return JSONResponse(shown)


def _refusal(status: int, message: str) -> Response:
    return JSONResponse({"HttpStatus": status, "Message": message}, status)
