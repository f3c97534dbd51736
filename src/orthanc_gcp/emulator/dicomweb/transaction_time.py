"""How long a store or retrieve transaction may take (Healthcare API, "Quotas and limits")."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orthanc_gcp.emulator.healthcare.request_context import RequestContext
from orthanc_gcp.emulator.http.responses import Refusal, error

__all__ = ["limited"]

Handler = Callable[[RequestContext], Awaitable[Response]]


def limited(handler: Handler) -> Handler:
    """Return a handler that gives up when the setting ``transactionTime`` is over.

    It raises :class:`Refusal` (503) before the answer has begun; after that, the answer breaks off.
    """

    @wraps(handler)
    async def handle_in_time(context: RequestContext) -> Response:
        seconds = context.services.fault_settings.current.transaction_time
        deadline = asyncio.get_running_loop().time() + seconds
        try:
            async with asyncio.timeout_at(deadline) as time:
                response = await handler(context)
        except TimeoutError:
            if not time.expired():
                raise
            raise Refusal(error(503, "The request exceeded its deadline.")) from None
        return response if type(response) is Response else LimitedResponse(response, deadline)

    return handle_in_time


class LimitedResponse(Response):
    """An answer that breaks off at a deadline, by the clock of the event loop."""

    def __init__(self, whole: Response, deadline: float) -> None:
        super().__init__(status_code=whole.status_code)
        self.raw_headers = whole.raw_headers
        self._whole, self._deadline = whole, deadline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout_at(self._deadline) as time:
                await self._whole(scope, receive, send)
        except TimeoutError:
            # The server closes the connection when an answer is not complete.
            if not time.expired():
                raise
