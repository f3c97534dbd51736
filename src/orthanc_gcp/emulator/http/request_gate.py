"""A gate before the applications: it lets nobody in for a moment, and breaks off who is inside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from errno import ETIMEDOUT

from starlette.types import ASGIApp, Receive, Scope, Send

from orthanc_gcp.emulator.http.protocol import reset_connection

__all__ = ["GatedApplication", "RequestGate"]

_MAX_WAIT = 30.0
"""How many seconds a request that is broken off may take to put its things in order."""


class RequestGate:
    """Knows the requests that are being answered.

    Parameters
    ----------
    exempt : collection of str
        The paths of requests that are neither kept waiting nor broken off.
    """

    def __init__(self, exempt: Collection[str] = ()) -> None:
        self._exempt = frozenset(exempt)
        self._running: dict[asyncio.Task[None], Scope] = {}
        self._open = asyncio.Event()
        self._open.set()
        self._one_at_a_time = asyncio.Lock()

    @asynccontextmanager
    async def closed(self) -> AsyncIterator[None]:
        """Break off all requests; while the block runs, others wait until it has ended.

        Raises
        ------
        TimeoutError
            A request does not end.
        """
        async with self._one_at_a_time:
            self._open.clear()
            try:
                await self._break_off()
                yield
            finally:
                self._open.set()

    @asynccontextmanager
    async def passed(self, scope: Scope) -> AsyncIterator[None]:
        """Let a request in, as soon as the gate is open; it is answered while the block runs."""
        task = asyncio.current_task()
        if scope["path"] in self._exempt or task is None:
            yield
            return
        while not self._open.is_set():
            await self._open.wait()
        self._running[task] = scope
        try:
            yield
        except asyncio.CancelledError:
            if task in self._running:
                raise  # it is the server that ends
            reset_connection(scope)
        finally:
            self._running.pop(task, None)

    async def _break_off(self) -> None:
        tasks = list(self._running)
        self._running.clear()
        for task in tasks:
            task.cancel()
        if tasks and (await asyncio.wait(tasks, timeout=_MAX_WAIT))[1]:
            raise TimeoutError(ETIMEDOUT, "a request does not end")


class GatedApplication:
    """An ASGI application behind a gate; another one may take its place while that is closed."""

    def __init__(self, gate: RequestGate, application: ASGIApp) -> None:
        self._gate = gate
        self.application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._gate.passed(scope):
            await self.application(scope, receive, send)
