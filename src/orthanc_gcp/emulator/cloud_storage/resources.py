"""Buckets and objects as the JSON API shows them (JSON API, resource representations)."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from orthanc_gcp.emulator.cloud_storage.object_fields import DEFAULT_TYPE
from orthanc_gcp.emulator.cloud_storage.objects import StoredObject

__all__ = ["bucket_resource", "etag", "object_resource"]


def object_resource(known: StoredObject, origin: str) -> dict[str, Any]:
    """Return the resource of an object; ``origin`` is where the client reaches the emulator."""
    uri, record = known.uri, known.record
    path = f"storage/v1/b/{uri.bucket}/o/{quote(uri.name, safe='')}"
    created = _moment(record.created)
    resource = {
        "kind": "storage#object",
        "id": f"{uri.bucket}/{uri.name}/{record.generation}",
        "selfLink": f"{origin}/{path}",
        "mediaLink": f"{origin}/download/{path}?generation={record.generation}&alt=media",
        "name": uri.name,
        "bucket": uri.bucket,
        "generation": str(record.generation),
        "metageneration": str(record.metageneration),
        "contentType": DEFAULT_TYPE,
        "storageClass": "STANDARD",
        "size": str(known.size),
        "etag": etag(known),
        "timeCreated": created,
        "updated": _moment(record.updated),
        "timeStorageClassUpdated": created,
        "timeFinalized": created,
        **record.fields,
    }
    if record.md5 is not None and record.crc32c is not None:
        resource |= {"md5Hash": record.md5, "crc32c": record.crc32c}
    return resource


def bucket_resource(
    bucket: str, created: float, origin: str, project_number: str
) -> dict[str, Any]:
    """Return the resource of a bucket, which has no settings of its own."""
    moment = _moment(created)
    return {
        "kind": "storage#bucket",
        "id": bucket,
        "selfLink": f"{origin}/storage/v1/b/{bucket}",
        "name": bucket,
        "projectNumber": project_number,
        "metageneration": "1",
        "location": "EUROPE-WEST2",
        "locationType": "region",
        "storageClass": "STANDARD",
        "etag": "CAE=",
        "timeCreated": moment,
        "updated": moment,
        "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}},
    }


def etag(known: StoredObject) -> str:
    """Return what changes with the content of an object, and with what is said about it."""
    record = known.record
    return base64.b64encode(f"{record.generation}/{record.metageneration}".encode()).decode()


def _moment(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
