"""Connections that carry only so many bytes a second."""

from __future__ import annotations

import asyncio
import time

from orthanc_gcp.emulator.faults.bandwidth import BandwidthLimit
from orthanc_gcp.emulator.server import Emulator
from tests.emulator.client import AS_STORED, Client, make_dicom, path_of, read


def test_bytes_wait_for_their_turn() -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    async def run() -> None:
        limit = BandwidthLimit(1000, lambda: now, sleep)
        for size in (500, 1000):
            await limit.take(size)

    now = 100.0
    asyncio.run(run())
    assert waited == [0.5, 1.5]


def test_timers_that_ring_late_cost_nothing() -> None:
    now = 100.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += max(0.0, seconds) + 0.003

    async def run() -> None:
        limit = BandwidthLimit(10_000_000, lambda: now, sleep)
        for number in range(1, 1001):
            await limit.take(64 * 1024)
            # Never faster, and never later than one timer is late.
            assert number * 64 * 1024 / 10_000_000 <= now - 100 < number * 0.0065536 + 0.0031

    asyncio.run(run())


def test_what_was_not_used_is_lost() -> None:
    now = 100.0
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        waited.append(seconds)

    async def run() -> None:
        nonlocal now
        limit = BandwidthLimit(1000, lambda: now, sleep)
        for _ in range(2):
            now += 3600
            await limit.take(1000)
            now += 1

    asyncio.run(run())
    assert waited == [1, 1]


def test_pieces_are_small_enough_to_come_at_a_rate() -> None:
    assert [BandwidthLimit(rate).piece for rate in (1, 50_000, 10**12)] == [1, 5000, 64 * 1024]


def test_answers_at_a_rate(emulator: Emulator, own_client: Client) -> None:
    content = make_dicom(pixels=bytes(range(256)) * 80)
    own_client.store(content)
    rate = 50_000
    emulator.fault_settings.change(bandwidth=rate)
    for accept in ("application/dicom; transfer-syntax=*", AS_STORED):
        started = time.monotonic()
        answer = own_client.pool.request(
            "GET",
            own_client.web + path_of(read(content)),
            headers={"Authorization": f"Bearer {own_client.token}", "Accept": accept},
            preload_content=False,
        )
        received = b""
        for block in answer.stream(1000):
            received += block
            # It may be slower, but never faster.
            assert len(received) <= rate * (time.monotonic() - started)
        assert content in received


def test_uploads_at_a_rate(emulator: Emulator, own_client: Client) -> None:
    emulator.fault_settings.change(bandwidth=50_000)
    content = make_dicom(pixels=bytes(20_000))
    started = time.monotonic()
    assert own_client.store(content).status == 200
    assert time.monotonic() - started >= len(content) / 50_000
