"""Which instances of a store an operation is about (``DicomFilterConfig``)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from orthanc_gcp.emulator.healthcare.cloud_storage import (
    InvalidUriError,
    ObjectUri,
    UnavailableError,
)
from orthanc_gcp.emulator.healthcare.operations import Job, OperationError
from orthanc_gcp.emulator.http.responses import Refusal, error
from orthanc_gcp.emulator.storage.instances import StoredInstance

__all__ = ["INVALID", "UNAVAILABLE", "check_filter", "selected"]

INVALID = 3
UNAVAILABLE = 7
"""How an operation ends that may not see a bucket, or that finds none (``google.rpc.Code``)."""

_MAX_LINE = 1000
_PATH = re.compile(
    r"/studies/(?P<study>[\d.]+)(?:/series/(?P<series>[\d.]+)(?:/instances/(?P<instance>[\d.]+))?)?"
)


def check_filter(body: dict[str, Any]) -> str | None:
    """Return the address of the paths in ``filterConfig``, or refuse one that is none."""
    config = body.get("filterConfig")
    if not config:
        return None
    try:
        uri = ObjectUri.parse(config.get("resourcePathsGcsUri") if isinstance(config, dict) else 0)
    except InvalidUriError as problem:
        raise Refusal(error(400, str(problem))) from problem
    if not uri.name:
        raise Refusal(error(400, f"invalid Cloud Storage URI: {str(uri)!r}"))
    return str(uri)


def selected(job: Job) -> Iterator[list[StoredInstance]]:
    """Yield the instances of a job's ``store`` that its ``uids`` or its ``filter`` mean.

    Paths of the filter without any instance count as failures.
    """
    index, store = job.storage.index, job.parameters["store"]
    if job.parameters["filter"] is None:
        yield from index.batches(store, *job.parameters["uids"])
        return
    for uids in _paths(job, ObjectUri.parse(job.parameters["filter"])):
        found = False
        for batch in index.batches(store, *uids):
            found = True
            yield batch
        if not found:
            job.count(failure=1)


def _paths(job: Job, uri: ObjectUri) -> Iterator[tuple[str, ...]]:
    try:
        with job.buckets.open(uri) as file:
            while line := file.readline(_MAX_LINE):
                if text := line.decode(errors="replace").strip():
                    yield _uids(text)
    except UnavailableError as problem:
        raise OperationError(UNAVAILABLE, str(problem)) from problem


def _uids(text: str) -> tuple[str, ...]:
    match = _PATH.fullmatch(text)
    if match is None:
        raise OperationError(INVALID, "a resource path of the filter is invalid")
    return tuple(uid for uid in match.groups() if uid is not None)
