"""The gate before the applications, by itself; tests of the reset drive it with real requests."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from orthanc_gcp.emulator.http import request_gate
from orthanc_gcp.emulator.http.protocol import TRANSPORT
from orthanc_gcp.emulator.http.request_gate import GatedApplication, RequestGate


class Connection:
    """What the gate needs of a transport, without a socket beneath."""

    def __init__(self) -> None:
        self.aborted = False

    def get_extra_info(self, _name: str) -> Any:
        return self

    def fileno(self) -> int:
        return 1

    def setsockopt(self, *_: object) -> None:
        pass

    def abort(self) -> None:
        self.aborted = True


def scope(path: str = "/", connection: Connection | None = None) -> dict[str, Any]:
    transport = connection or Connection()
    return {"path": path, "extensions": {TRANSPORT: {"transport": transport}}}


async def nothing(*_: object) -> Any:
    raise AssertionError


class Application:
    """Waits until it may end, and notes what became of it."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.end = asyncio.Event()

    async def __call__(self, given: Any, _receive: Any, _send: Any) -> None:
        self.log.append(f"began {given['path']}")
        try:
            await self.end.wait()
        except asyncio.CancelledError:
            self.log.append(f"broken {given['path']}")
            raise
        self.log.append(f"ended {given['path']}")


async def steps() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_who_is_inside_is_broken_off_and_who_comes_waits() -> None:
    async def run() -> list[str]:
        gate = RequestGate(exempt=["/health"])
        application = Application()
        gated = GatedApplication(gate, application)
        connection = Connection()
        inside = asyncio.create_task(gated(scope("/1", connection), nothing, nothing))
        await steps()
        async with gate.closed():
            assert inside.done()
            assert connection.aborted
            tasks = [
                asyncio.create_task(gated(scope(path), nothing, nothing))
                for path in ("/2", "/health")
            ]
            await steps()
            application.log.append("closed")
            application.end.set()
            gated.application = second = Application()
            second.log = application.log
            second.end.set()
        await asyncio.gather(inside, *tasks)
        return application.log

    assert asyncio.run(run()) == [
        *("began /1", "broken /1", "began /health", "closed"),
        *("ended /health", "began /2", "ended /2"),
    ]


def test_what_is_exempt_is_not_broken_off() -> None:
    async def run() -> list[str]:
        gate = RequestGate(exempt=["/health"])
        application = Application()
        inside = asyncio.create_task(
            GatedApplication(gate, application)(scope("/health"), nothing, nothing)
        )
        await steps()
        async with gate.closed():
            application.end.set()
        await inside
        return application.log

    assert asyncio.run(run()) == ["began /health", "ended /health"]


def test_a_server_that_ends_cancels_requests_as_ever() -> None:
    async def run() -> None:
        application, connection = Application(), Connection()
        gated = GatedApplication(RequestGate(), application)
        inside = asyncio.create_task(gated(scope("/", connection), nothing, nothing))
        await steps()
        inside.cancel()
        with pytest.raises(asyncio.CancelledError):
            await inside
        assert not connection.aborted

    asyncio.run(run())


def test_it_opens_again_after_a_failure_and_for_one_at_a_time() -> None:
    async def run() -> list[str]:
        gate, log = RequestGate(), []

        async def close(name: str) -> None:
            async with gate.closed():
                log.append(f"{name} began")
                await steps()
                log.append(f"{name} ended")
                raise OSError(name)

        results = await asyncio.gather(close("a"), close("b"), return_exceptions=True)
        assert [str(result) for result in results] == ["a", "b"]
        application = Application()
        application.end.set()
        await GatedApplication(gate, application)(scope("/"), nothing, nothing)
        return log + application.log

    assert asyncio.run(run()) == [
        *("a began", "a ended", "b began", "b ended", "began /", "ended /"),
    ]


def test_a_request_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_gate, "_MAX_WAIT", 0.01)
    end = asyncio.Event()

    async def stubborn(*_: Any) -> None:
        while not end.is_set():
            with suppress(asyncio.CancelledError):
                await end.wait()

    async def run() -> None:
        gate = RequestGate()
        inside = asyncio.create_task(GatedApplication(gate, stubborn)(scope(), nothing, nothing))
        await steps()
        with pytest.raises(TimeoutError, match="a request does not end"):
            async with gate.closed():
                raise AssertionError
        end.set()
        await inside

    asyncio.run(run())
