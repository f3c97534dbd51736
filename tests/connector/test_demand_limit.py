"""Tokens on demand: some at once, and then one by one."""

from __future__ import annotations

import pytest

from orthanc_gcp.connector.demand_limit import AT_ONCE, EVERY, DemandLimit
from tests.support.simulation import FakeClock


def test_some_at_once_and_then_one_by_one() -> None:
    clock = FakeClock()
    limit = DemandLimit(clock)
    assert [limit.take() for _ in range(AT_ONCE)] == [0.0] * AT_ONCE
    assert limit.take() == pytest.approx(EVERY)
    clock.time += EVERY / 2
    assert limit.take() == pytest.approx(EVERY / 2)
    clock.time += EVERY / 2
    assert limit.take() == 0.0
    assert limit.take() > 0
    clock.time += 3600
    assert [limit.take() for _ in range(AT_ONCE)] == [0.0] * AT_ONCE
    assert limit.take() > 0
