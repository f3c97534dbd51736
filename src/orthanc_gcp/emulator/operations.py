"""Long-running operations (``google.longrunning.Operation``)."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from orthanc_gcp.emulator.calls import Call
from orthanc_gcp.emulator.timestamps import timestamp

__all__ = ["record_done", "record_failed"]

_INVALID_ARGUMENT = 3
"""As ``google.rpc.Code`` has it."""


def record_done(
    call: Call, started: float, succeeded: int, failures: Sequence[str] = ()
) -> dict[str, Any]:
    """Record an operation that has ended, and what failed; return what its beginning looks like."""
    counter = {"success": str(succeeded)}
    if failures:
        counter["failure"] = str(len(failures))
        problem = {"code": _INVALID_ARGUMENT, "message": failures[0]}
        return _record(call, started, counter, {"error": problem})
    response = {"@type": "type.googleapis.com/google.protobuf.Empty"}
    return _record(call, started, counter, {"response": response})


def record_failed(call: Call, started: float, code: int, failed: int) -> dict[str, Any]:
    """Record an operation that has ended with a code of ``google.rpc.Code``."""
    problem = {"code": code, "message": "the operation failed on demand"}
    return _record(call, started, {"failure": str(failed)}, {"error": problem})


def _record(
    call: Call, started: float, counter: dict[str, str], outcome: dict[str, Any]
) -> dict[str, Any]:
    package = f"google.cloud.healthcare.{call.version}"
    name = f"{call.dataset}/operations/{secrets.randbelow(9 * 10**18) + 10**18}"
    body = {
        "name": name,
        "metadata": {
            "@type": f"type.googleapis.com/{package}.OperationMetadata",
            "apiMethodName": call.rpc,
            "createTime": timestamp(started),
            "endTime": timestamp(call.services.clock()),
            "counter": counter,
        },
        "done": True,
        **outcome,
    }
    call.storage.index.put_operation(name, call.dataset, body)
    return {"name": name}
