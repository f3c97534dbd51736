"""What fault settings are set to: values that cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from orthanc_gcp.emulator.faults.fault_settings import FaultSettings


@pytest.mark.parametrize(
    "change",
    [
        {"latency": -1},
        {"bandwidth": 0},
        {"bandwidth": 1.5},
        {"quota": 5},
        {"quota": {}},
        {"quota": {"requestsPerMinute": -1}},
        {"quota": {"retryAfter": True}},
        {"quota": {"bytesPerSecond": 0}},
        {"quota": {"requestsPerSecond": 0.5}},
        {"quota": {"requestsPerMinute": 1, "retryAfter": 1}},
        {"searchLag": -1},
        {"operationFailure": 0},
        {"operationFailure": 17},
        {"operationThroughput": 0},
        {"operationThroughput": float("nan")},
        {"operationThroughput": True},
        {"maxOperations": -1},
        {"unloggedErrors": 1.5},
        {"missingResource": 410},
        {"emptyQido": True},
        {"duplicates": "never"},
        {"seed": -1},
    ],
)
def test_values_that_cannot_be(change: dict[str, Any]) -> None:
    settings = FaultSettings()
    before = settings.as_json()
    with pytest.raises(ValueError, match=next(iter(change))):
        settings.change(metadata=False, **change)
    assert settings.as_json() == before
