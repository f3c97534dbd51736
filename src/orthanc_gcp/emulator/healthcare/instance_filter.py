"""Which instances of a store an operation is about (Healthcare API, ``DicomFilterConfig``)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from orthanc_gcp.emulator.cloud_storage.buckets import UnavailableError
from orthanc_gcp.emulator.cloud_storage.object_uri import InvalidUriError, ObjectUri
from orthanc_gcp.emulator.healthcare.jobs import Code, Job, OperationError
from orthanc_gcp.emulator.http.responses import Refusal, error
from orthanc_gcp.emulator.storage.instances import StoredInstance

__all__ = ["check_filter", "selected_instances"]

_MAX_LINE = 64 * 1024
_PATH = re.compile(
    r"/studies/(?P<study>[^/]+)(?:/series/(?P<series>[^/]+)(?:/instances/(?P<instance>[^/]+))?)?"
)
"""A path with UIDs that are percent-encoded where a segment of a path demands it."""


def check_filter(body: dict[str, Any]) -> str | None:
    """Return the address of the file of paths in ``filterConfig``, if a body has it.

    Raises :class:`Refusal` (400) when it is none.
    """
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


def selected_instances(job: Job) -> Iterator[list[StoredInstance]]:
    """Yield batches of a job's ``store``: the instances that its ``uids`` or ``filter`` mean.

    Paths of the filter without any instance count as failures. Raises :class:`OperationError` when
    the filter's file is not there, or one of its lines is not the path of a resource.
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
        with job.agent.open(uri) as file:
            while line := file.readline(_MAX_LINE):
                if text := line.decode(errors="replace").strip():
                    yield _uids(text)
    except UnavailableError as problem:
        raise OperationError(Code.PERMISSION_DENIED, str(problem)) from problem


def _uids(text: str) -> tuple[str, ...]:
    match = _PATH.fullmatch(text)
    if match is None:
        raise OperationError(Code.INVALID_ARGUMENT, "a resource path of the filter is invalid")
    return tuple(unquote(uid) for uid in match.groups() if uid is not None)
