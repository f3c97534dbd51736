"""The worker's own REST API, on loopback: the routes that Orthanc passes on to it, same paths."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from orthanc_gcp.custody.audit.running import running_audits
from orthanc_gcp.custody.reporting import operations
from orthanc_gcp.custody.reporting.activity import Activity
from orthanc_gcp.custody.reporting.history import history
from orthanc_gcp.custody.reporting.instances import instances
from orthanc_gcp.custody.reporting.overview import Overview
from orthanc_gcp.custody.reporting.problems import Problem
from orthanc_gcp.custody.reporting.receipts import receipts
from orthanc_gcp.custody.reporting.standstill import Standstill
from orthanc_gcp.custody.reporting.studies import series, studies
from orthanc_gcp.custody.signatures.signing_key import issued
from orthanc_gcp.errors import OrthancError
from orthanc_gcp.ledger.database import is_away, words_of
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import State
from orthanc_gcp.ledger.selection import Selection
from orthanc_gcp.redaction import readable
from orthanc_gcp.worker.listener import Guarded
from orthanc_gcp.worker.losses_api import LossesApi
from orthanc_gcp.worker.metrics import CONTENT_TYPE, Metrics
from orthanc_gcp.worker.quarantine_api import QuarantineApi
from orthanc_gcp.worker.retrieval_api import MOST_RESOURCES, RetrievalApi, named_in_orthanc
from orthanc_gcp.worker.samples import Sample

__all__ = ["Api"]

_log = logging.getLogger(__name__)

HEALTH = "/health"
LARGEST_BODY = 16 * 1024 * 1024
LARGEST_CHOICE = 64 * 1024
"""Of a body that has a few names only."""
MOST_BRACKETS = 2 * MOST_RESOURCES
"""Arrays and objects in a body: those of ``retrieve`` are an object for each resource."""
BODIES_AT_ONCE = 4
"""Others wait until these are there: they are in memory as a whole."""
LARGEST_WANTED = 4 * 1024 * 1024
"""Bytes of a request to retrieve: so many resources as one may have, and more."""
_FILTERS = ("state", "study", "series", "instance", "reason", "destination", "since", "until")
_PAGING = ("after", "limit")
_PAGE = 100
_SURROGATE = re.compile("[\ud800-\udfff]")
_NO_PAGE = "after: expected the Next of another page"


class Api:
    """Answers requests; needs nothing of the worker but what is handed in.

    Parameters
    ----------
    accounts
        Those that the configuration has.
    problems
        Account -> why nothing can be sent to it just now.
    send_on_demand
        Queues resources of Orthanc for an account; see
        :func:`orthanc_gcp.custody.intake.on_demand.send_on_demand`.
    on_change
        Called when more, or less, may be sent than before.
    measure
        Gives what ``/metrics`` shows.
    needs_person
        What stands still until a person does something.
    standstill
        Says why instances that are not done yet are not.
    retrievals
        Answers what is about retrievals.
    activity
        Says who works on the ledger.
    """

    def __init__(
        self,
        ledger: Ledger,
        overview: Overview,
        accounts: Collection[str],
        problems: Callable[[], Mapping[str, str | None]],
        send_on_demand: Callable[[str, Sequence[str]], int],
        on_change: Callable[[], None],
        measure: Callable[[], Iterable[Sample]],
        needs_person: Callable[[], Sequence[Problem]],
        standstill: Standstill,
        retrievals: RetrievalApi,
        activity: Activity,
    ) -> None:
        self._ledger, self._reported = ledger, overview
        self._retrievals, self._activity = retrievals, activity
        self._in_quarantine = QuarantineApi(ledger, self._changed)
        self._lost = LossesApi(ledger, self._changed)
        self._accounts, self._problems = accounts, problems
        self._send_on_demand, self._on_change = send_on_demand, on_change
        self._measured, self._needs_person = Metrics(measure), needs_person
        self._standstill = standstill
        self._is_open = False
        self._reading = asyncio.Semaphore(BODIES_AT_ONCE)

    def open(self) -> None:
        """The ledger is there: what is asked is answered from now on."""
        self._is_open = True

    def application(self, secret: str) -> ASGIApp:
        """The API for those who know the secret.

        ``/health`` asks nothing of the ledger: it says that the process answers.
        """
        account = "/gcp/accounts/{account}"
        return Guarded(
            Starlette(
                routes=[
                    Route(HEALTH, _healthy, methods=["GET"]),
                    Route("/metrics", self._metrics, methods=["GET"]),
                    Route("/gcp/transfers", self._overview, methods=["GET"]),
                    Route("/gcp/activity", self._active, methods=["GET"]),
                    Route("/gcp/backfill/pause", self._pause_backfill, methods=["POST"]),
                    Route("/gcp/backfill/resume", self._resume_backfill, methods=["POST"]),
                    Route(f"{account}/transfers", self._account, methods=["GET"]),
                    Route(f"{account}/history", self._history, methods=["GET"]),
                    Route(f"{account}/studies", self._studies, methods=["GET"]),
                    Route(f"{account}/series", self._series, methods=["GET"]),
                    Route(f"{account}/instances", self._instances, methods=["GET"]),
                    Route(f"{account}/receipt", self._receipt, methods=["GET"]),
                    Route(f"{account}/quarantine", self._quarantine, methods=["GET"]),
                    Route(f"{account}/dismiss", self._dismiss, methods=["POST"]),
                    Route(f"{account}/losses", self._losses, methods=["GET"]),
                    Route(f"{account}/losses/acknowledge", self._acknowledge, methods=["POST"]),
                    Route(f"{account}/retry", self._retry, methods=["POST"]),
                    Route(f"{account}/pause", self._pause, methods=["POST"]),
                    Route(f"{account}/resume", self._resume, methods=["POST"]),
                    Route(f"{account}/send", self._send, methods=["POST"]),
                    Route(f"{account}/retrieve", self._retrieve, methods=["POST"]),
                    Route(f"{account}/prefetch", self._prefetch, methods=["POST"]),
                    Route(f"{account}/retrievals", self._retrieved, methods=["GET"]),
                ],
                middleware=[Middleware(_Gate, lambda: self._is_open)],
                exception_handlers={
                    HTTPException: _refused,
                    SQLAlchemyError: _ledger_away,
                    OrthancError: _orthanc_away,
                },
            ),
            secret,
        )

    def overview(self) -> list[dict[str, Any]]:
        """What ``/gcp/transfers`` answers."""
        problems = self._problems()
        names = {*self._accounts, *problems}
        return [
            one.as_json() for one in self._reported.accounts(names, problems, self._needs_person())
        ]

    # Starlette runs what is no coroutine on a thread: the database may be waited for.

    def _overview(self, request: Request) -> Response:
        _only(request, ())
        return JSONResponse(self.overview())

    def _active(self, request: Request) -> Response:
        _only(request, ())
        audits = [one.as_json() for one in running_audits(self._ledger)]
        return JSONResponse({**self._activity.as_json(), "Audits": audits})

    def _metrics(self, _request: Request) -> Response:
        return Response(self._measured.text(), media_type=CONTENT_TYPE)

    def _account(self, request: Request) -> Response:
        _only(request, ())
        return JSONResponse(self._found(_named(request)))

    def _history(self, request: Request) -> Response:
        _only(request, ())
        return JSONResponse(history(self._ledger, self._found(_named(request))["Account"]))

    def _studies(self, request: Request) -> Response:
        _only(request, (*_FILTERS, *_PAGING))
        try:
            page = studies(self._ledger, self._selection(request), *_paging(request))
        except ValueError:
            raise HTTPException(400, _NO_PAGE) from None
        return JSONResponse(
            {"Studies": [one.as_json() for one in page.items], "Next": page.following}
        )

    def _series(self, request: Request) -> Response:
        _only(request, (*_FILTERS, *_PAGING))
        study = request.query_params.get("study")
        if not study:
            raise HTTPException(400, "study: expected the UID of one")
        try:
            page = series(self._ledger, study, self._selection(request), *_paging(request))
        except ValueError:
            raise HTTPException(400, _NO_PAGE) from None
        return JSONResponse(
            {"Series": [one.as_json() for one in page.items], "Next": page.following}
        )

    def _instances(self, request: Request) -> Response:
        _only(request, (*_FILTERS, *_PAGING))
        try:
            page = instances(
                self._ledger, self._selection(request), *_paging(request), self._standstill
            )
        except ValueError:
            raise HTTPException(400, _NO_PAGE) from None
        return JSONResponse(
            {"Instances": [one.as_json() for one in page.items], "Next": page.following}
        )

    def _receipt(self, request: Request) -> Response:
        _only(request, ("study",))
        study = request.query_params.get("study", "")
        try:
            account = self._found(_named(request))["Account"]
            (receipt,) = receipts(self._ledger, study, account, self._standstill)
        except KeyError:
            words = f"nothing of study {readable(study)} was ever to be sent"
            raise HTTPException(404, words) from None
        return JSONResponse(issued(self._ledger, receipt.as_json()))

    def _pause(self, request: Request) -> Response:
        account = self._found(_named(request))["Account"]
        operations.pause(self._ledger, account)
        self._on_change()
        return JSONResponse(self._found(account))

    def _resume(self, request: Request) -> Response:
        account = self._found(_named(request))["Account"]
        operations.resume(self._ledger, account)
        self._on_change()
        return JSONResponse(self._found(account))

    async def _pause_backfill(self, request: Request) -> Response:
        return await self._steer_backfill(request, paused=True)

    async def _resume_backfill(self, request: Request) -> Response:
        return await self._steer_backfill(request, paused=False)

    async def _steer_backfill(self, request: Request, *, paused: bool) -> Response:
        wanted = await _body(request, self._reading, LARGEST_CHOICE)
        index = wanted.get("Index")
        if set(wanted) != {"Index"} or not isinstance(index, str) or not _is_text(index):
            raise HTTPException(400, 'expected {"Index": the name of one}')
        try:
            await run_in_threadpool(self._activity.steer_backfill, index, paused=paused)
        except KeyError:
            raise HTTPException(404, f"no backfill of {readable(index)} runs") from None
        self._on_change()
        return JSONResponse({"Index": index, "Paused": paused})

    async def _retry(self, request: Request) -> Response:
        wanted = await _body(request, self._reading, LARGEST_CHOICE)
        if unknown := set(wanted) - {"Study", "Instance", "Reason"}:
            words = f"{readable(min(unknown))}: expected Study, Instance or Reason"
            raise HTTPException(400, words)
        if not all(isinstance(value, str) and _is_text(value) for value in wanted.values()):
            raise HTTPException(400, "Study, Instance and Reason: expected strings")
        return await run_in_threadpool(self._do_retry, _named(request), wanted)

    def _do_retry(self, account: str, wanted: Mapping[str, str]) -> Response:
        self._found(account)
        moved = operations.retry(
            self._ledger,
            account,
            study=wanted.get("Study"),
            instance=wanted.get("Instance"),
            reason=wanted.get("Reason"),
        )
        self._changed()
        return JSONResponse({"Account": account, "Instances": len(moved)})

    def _changed(self) -> None:
        self._reported.forget()
        self._on_change()

    def _quarantine(self, request: Request) -> Response:
        _only(request, _FILTERS)
        selection = self._selection(request)
        return JSONResponse(self._in_quarantine.groups(_named(request), selection))

    async def _dismiss(self, request: Request) -> Response:
        wanted = await _body(request, self._reading, LARGEST_CHOICE)
        return await run_in_threadpool(self._do_dismiss, _named(request), wanted)

    def _do_dismiss(self, account: str, wanted: Mapping[str, Any]) -> Response:
        self._found(account)
        return JSONResponse(self._in_quarantine.dismiss(account, wanted))

    def _losses(self, request: Request) -> Response:
        _only(request, ("all",))
        account = self._found(_named(request))["Account"]
        everything = request.query_params.get("all", "false")
        return JSONResponse(self._lost.page(account, everything))

    async def _acknowledge(self, request: Request) -> Response:
        wanted = await _body(request, self._reading, LARGEST_CHOICE)
        return await run_in_threadpool(self._do_acknowledge, _named(request), wanted)

    def _do_acknowledge(self, account: str, wanted: Mapping[str, Any]) -> Response:
        self._found(account)
        return JSONResponse(self._lost.acknowledge(account, wanted))

    async def _send(self, request: Request) -> Response:
        # The other fields of the DICOMweb plugin's body say how its job runs: there is none here.
        resources = (await _body(request, self._reading)).get("Resources")
        return await run_in_threadpool(self._do_send, _named(request), resources)

    def _do_send(self, account: str, resources: Any) -> Response:
        if account not in self._accounts:
            raise HTTPException(404, f"there is no account {readable(account)}")
        try:
            queued = self._send_on_demand(account, named_in_orthanc(resources))
        except KeyError as error:
            raise HTTPException(
                404, f"Orthanc has no resource {readable(str(error.args[0]))}"
            ) from None
        return JSONResponse({"Account": account, "Instances": queued})

    async def _retrieve(self, request: Request) -> Response:
        body = await _body(request, self._reading, LARGEST_WANTED)
        answer = await run_in_threadpool(self._retrievals.request, _named(request), body)
        return JSONResponse(answer)

    async def _prefetch(self, request: Request) -> Response:
        body = await _body(request, self._reading, LARGEST_CHOICE)
        answer = await run_in_threadpool(self._retrievals.prefetch, _named(request), body)
        return JSONResponse(answer)

    def _retrieved(self, request: Request) -> Response:
        _only(request, ("id", *_PAGING))
        number = request.query_params.get("id")
        return JSONResponse(self._retrievals.page(_named(request), *_paging(request), number))

    def _found(self, account: str) -> dict[str, Any]:
        for one in self.overview():
            if one["Account"] == account:
                return one
        words = f"there is no account {readable(account)}, and nothing was sent to it"
        raise HTTPException(404, words)

    def _selection(self, request: Request) -> Selection:
        given = request.query_params
        state = given.get("state")
        if state is not None and state not in list(State):
            raise HTTPException(400, f"state: expected one of {', '.join(State)}")
        return Selection(
            account=self._found(_named(request))["Account"],
            destination_id=_destination(request),
            state=None if state is None else State(state),
            study_instance_uid=given.get("study"),
            series_instance_uid=given.get("series"),
            sop_instance_uid=given.get("instance"),
            reason=given.get("reason"),
            since=_moment(request, "since"),
            until=_moment(request, "until"),
        )


class _Gate:
    """Lets requests through once there is a ledger to answer them from."""

    def __init__(self, application: ASGIApp, is_open: Callable[[], bool]) -> None:
        self._application, self._is_open = application, is_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or say that it is too early."""
        if self._is_open() or scope["path"] == HEALTH:
            await self._application(scope, receive, send)
        else:
            words = "the worker is still starting, or waits for its ledger: see its log"
            await _error(503, words)(scope, receive, send)


async def _healthy(_request: Request) -> Response:
    return JSONResponse({"Healthy": True})


def _named(request: Request) -> str:
    return str(request.path_params["account"])


def _only(request: Request, known: Collection[str]) -> None:
    """A filter that is not known would show, or do, more than was meant."""
    for name, value in request.query_params.multi_items():
        if name not in known:
            expected = f"expected {', '.join(known)}" if known else "none is expected"
            raise HTTPException(400, f"{readable(name)}: there is no such parameter, {expected}")
        if value and not _is_text(value):
            raise HTTPException(400, f"{name}: expected text")


def _is_text(value: str) -> bool:
    """Whether every database takes it: none has half of a surrogate pair, PostgreSQL no NUL."""
    return bool(value) and "\0" not in value and not _SURROGATE.search(value)


def _paging(request: Request) -> tuple[str, int]:
    limit = request.query_params.get("limit", str(_PAGE))
    if not limit.isdecimal() or len(limit) > 9:
        raise HTTPException(400, "limit: expected a whole number")
    return request.query_params.get("after", ""), int(limit)


def _destination(request: Request) -> int | None:
    given = request.query_params.get("destination")
    if given is None:
        return None
    if not given.isdecimal() or len(given) > 18:
        raise HTTPException(400, "destination: expected the number of one")
    return int(given)


def _moment(request: Request, name: str) -> float | None:
    given = request.query_params.get(name)
    if given is None:
        return None
    try:
        moment = datetime.fromisoformat(given.replace(" ", "+"))  # as '+' arrives unescaped
    except ValueError:
        raise HTTPException(400, f"{name}: expected a time such as 2026-01-31T18:00:00Z") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


async def _body(
    request: Request, reading: asyncio.Semaphore, largest: int = LARGEST_BODY
) -> dict[str, Any]:
    """The JSON object in a request; an empty one if there is nothing."""
    async with reading:
        return _object(await _content(request, largest))


async def _content(request: Request, largest: int) -> bytearray:
    content = bytearray()
    async for piece in request.stream():
        content += piece
        if len(content) > largest:
            raise HTTPException(413, f"expected {largest} bytes at most")
    return content


def _object(content: bytearray) -> dict[str, Any]:
    # Each array and object takes 20 times the memory that its brackets do, and time.
    is_simple = content.count(b"[") + content.count(b"{") <= MOST_BRACKETS
    try:
        body = json.loads(content or b"{}") if is_simple else None
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise HTTPException(400, "expected a JSON object")
    return body


def _refused(_request: Request, error: Exception) -> Response:
    refusal = cast("HTTPException", error)  # that is what it is registered for
    return _error(refusal.status_code, refusal.detail, refusal.headers)


def _ledger_away(_request: Request, error: Exception) -> Response:
    if not is_away(error):  # which the worker's loops log once
        _log.error("the ledger refuses: %s", words_of(error))
    return _error(503, "the ledger cannot be reached: see the worker's log")


def _orthanc_away(_request: Request, error: Exception) -> Response:
    return _error(503, str(error))


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"HttpStatus": status, "Message": message}, status, headers)
