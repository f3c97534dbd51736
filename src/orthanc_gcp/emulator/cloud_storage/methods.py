"""The JSON API of Cloud Storage, as far as uploads, lists, downloads and deletions go.

Sources: Cloud Storage, JSON API reference (``buckets``, ``objects``), "Uploads and downloads".
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response

from orthanc_gcp.emulator.auth.authorization import Authorizer
from orthanc_gcp.emulator.cloud_storage.access import Access
from orthanc_gcp.emulator.cloud_storage.answers import (
    found,
    invalid,
    no_such_bucket,
    refusal,
)
from orthanc_gcp.emulator.cloud_storage.buckets import Buckets, NotEmptyError, UnavailableError
from orthanc_gcp.emulator.cloud_storage.downloads import content
from orthanc_gcp.emulator.cloud_storage.listing import Query, list_names, page_token
from orthanc_gcp.emulator.cloud_storage.object_fields import MAX_FIELDS, read_json
from orthanc_gcp.emulator.cloud_storage.object_uri import BUCKET, ObjectUri
from orthanc_gcp.emulator.cloud_storage.objects import Objects, StoredObject, object_uri
from orthanc_gcp.emulator.cloud_storage.preconditions import Preconditions
from orthanc_gcp.emulator.cloud_storage.resources import bucket_resource, object_resource
from orthanc_gcp.emulator.cloud_storage.uploads import Uploads
from orthanc_gcp.emulator.faults.fault_settings import FaultSettings
from orthanc_gcp.emulator.http.requests import origin, raw_path, read_limited
from orthanc_gcp.emulator.storage.database import Database
from orthanc_gcp.emulator.storage.object_table import ObjectTable

__all__ = ["CloudStorage", "shown_path"]

NO_PERMISSION = ""
_PATHS = {
    "/storage/v1/b": "",
    "/upload/storage/v1/b": "upload",
    "/download/storage/v1/b": "download",
}

_OBJECT = re.compile(r"((?:/\w+)?/storage/v1/b/[^/]+/o/).+", re.DOTALL)

Handler = Callable[..., Awaitable[Response]]


class CloudStorage:
    """The methods of the API over the folder of buckets.

    What they raise is a :class:`Refusal`.
    """

    def __init__(
        self,
        buckets: Buckets,
        database: Database,
        fault_settings: FaultSettings,
        clock: Callable[[], float],
        authorizer: Authorizer,
        project_number: str,
    ) -> None:
        table = ObjectTable(database)
        self._buckets, self._table, self._project_number = buckets, table, project_number
        self._objects = Objects(buckets, table, clock)
        self._access = Access(authorizer, fault_settings)
        uploads = Uploads(buckets, self._objects, clock)
        self._methods: dict[tuple[str, str], tuple[str, Handler]] = {
            ("GET", "buckets"): ("storage.buckets.list", self._list_buckets),
            ("POST", "buckets"): ("storage.buckets.create", self._create_bucket),
            ("GET", "bucket"): ("storage.buckets.get", self._get_bucket),
            ("DELETE", "bucket"): ("storage.buckets.delete", self._delete_bucket),
            ("GET", "objects"): ("storage.objects.list", self._list_objects),
            ("GET", "object"): ("storage.objects.get", self._get_object),
            ("GET", "download object"): ("storage.objects.get", self._download),
            ("PATCH", "object"): ("storage.objects.update", self._update_object),
            ("DELETE", "object"): ("storage.objects.delete", self._delete_object),
            ("POST", "upload objects"): ("storage.objects.create", uploads.insert),
            # The address of a session is a credential itself.
            ("PUT", "upload objects"): (NO_PERMISSION, uploads.resume),
            ("DELETE", "upload objects"): (NO_PERMISSION, uploads.cancel),
        }

    def find(self, request: Request) -> Callable[[], Awaitable[Response]] | None:
        """Return what answers a request for the API, if it is one."""
        path = raw_path(request)
        for start, kind in _PATHS.items():
            if path == start or path.startswith(f"{start}/"):
                return partial(self._answer, request, kind, path.removeprefix(start))
        return None

    async def _answer(self, request: Request, kind: str, rest: str) -> Response:
        resource, names = _resource(rest)
        method = self._methods.get((request.method, f"{kind} {resource}".strip()))
        if method is None:
            message = "The emulator's Cloud Storage does not have this method."
            raise refusal(501, "notImplemented", message)
        permission, handler = method
        if permission != NO_PERMISSION:
            self._access.require(request, permission)
        return await handler(request, *names)

    # Buckets

    async def _list_buckets(self, request: Request) -> Response:
        query = Query.of_request(request)
        names = await asyncio.to_thread(self._buckets.names)
        wanted = [name for name in names if name.startswith(query.prefix) and name > query.after]
        shown = wanted[: query.limit]
        items = [self._bucket(request, name) for name in shown]
        body: dict[str, Any] = {"kind": "storage#buckets", **({"items": items} if items else {})}
        if len(wanted) > len(shown):
            body["nextPageToken"] = page_token(shown[-1])
        return found(body)

    async def _create_bucket(self, request: Request) -> Response:
        name = read_json(await read_limited(request, MAX_FIELDS)).get("name")
        if not isinstance(name, str) or not BUCKET.fullmatch(name):
            raise invalid(f"Invalid bucket name: '{str(name)[:300]}'")
        try:
            self._buckets.create_bucket(name)
        except FileExistsError:
            message = (
                "Your previous request to create the named bucket succeeded and you already own it."
            )
            raise refusal(409, "conflict", message) from None
        except UnavailableError as problem:
            message = "The emulator has buckets when it is started with --buckets."
            raise refusal(501, "notImplemented", message) from problem
        return found(self._bucket(request, name))

    async def _get_bucket(self, request: Request, bucket: str) -> Response:
        return found(self._bucket(request, bucket))

    async def _delete_bucket(self, request: Request, bucket: str) -> Response:
        del request
        try:
            await asyncio.to_thread(self._buckets.delete_bucket, bucket)
        except UnavailableError as problem:
            raise no_such_bucket() from problem
        except NotEmptyError as problem:
            message = "The bucket you tried to delete is not empty."
            raise refusal(409, "conflict", message) from problem
        self._table.remove_bucket(bucket)
        return Response(status_code=204)

    def _bucket(self, request: Request, bucket: str) -> dict[str, Any]:
        try:
            created = self._buckets.bucket_status(bucket).st_mtime
        except UnavailableError as problem:
            raise no_such_bucket() from problem
        return bucket_resource(bucket, created, origin(request), self._project_number)

    # Objects

    async def _list_objects(self, request: Request, bucket: str) -> Response:
        query = Query.of_request(request)
        return found(await asyncio.to_thread(self._page, bucket, query, origin(request)))

    def _page(self, bucket: str, query: Query, address: str) -> dict[str, Any]:
        try:
            page = list_names(self._buckets, bucket, query)
        except UnavailableError as problem:
            raise no_such_bucket() from problem
        known = (self._objects.listed(ObjectUri(bucket, name)) for name in page.names)
        items = [object_resource(one, address) for one in known if one is not None]
        body = {"prefixes": page.prefixes, "items": items, "nextPageToken": page.next_token}
        return {"kind": "storage#objects", **{name: value for name, value in body.items() if value}}

    async def _get_object(self, request: Request, bucket: str, name: str) -> Response:
        if request.query_params.get("alt") == "media":
            return await self._download(request, bucket, name)
        uri, preconditions = object_uri(bucket, name), Preconditions.of_request(request)
        return _shown(request, await asyncio.to_thread(self._objects.get, uri, preconditions))

    async def _download(self, request: Request, bucket: str, name: str) -> Response:
        uri, preconditions = object_uri(bucket, name), Preconditions.of_request(request)
        file, known = await asyncio.to_thread(self._objects.open, uri, preconditions)
        return content(request, file, known)

    async def _update_object(self, request: Request, bucket: str, name: str) -> Response:
        uri, preconditions = object_uri(bucket, name), Preconditions.of_request(request)
        given = read_json(await read_limited(request, MAX_FIELDS))
        changed = await asyncio.to_thread(self._objects.update, uri, given, preconditions)
        return _shown(request, changed)

    async def _delete_object(self, request: Request, bucket: str, name: str) -> Response:
        uri, preconditions = object_uri(bucket, name), Preconditions.of_request(request)
        await asyncio.to_thread(self._objects.delete, uri, preconditions)
        return Response(status_code=204)


def shown_path(path: str) -> str:
    """Return a path without the name of an object, in which a patient may be named."""
    return _OBJECT.sub(r"\1…", path)


def _resource(rest: str) -> tuple[str, list[str]]:
    """Return what the rest of a path like ``/BUCKET/o/OBJECT`` names: its kind, and the names."""
    bucket, *more = rest.removeprefix("/").split("/")
    kinds = {(): "bucket", ("o",): "objects"}
    kind = "object" if len(more) == 2 and more[0] == "o" else kinds.get(tuple(more), "")
    if not rest:
        return "buckets", []
    try:
        return kind, [unquote(name, errors="strict") for name in (bucket, *more[1:])]
    except UnicodeDecodeError:
        raise invalid("The name is not UTF-8.") from None


def _shown(request: Request, known: StoredObject) -> Response:
    return found(object_resource(known, origin(request)))
