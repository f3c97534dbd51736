"""A bucket, asked by plain HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import urllib3

from orthanc_gcp.emulator.cloud_storage.buckets import UNFINISHED
from orthanc_gcp.emulator.server import Emulator


class Bucket:
    """A bucket of an emulator, its folder, and the methods of the JSON API that concern it."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        self.emulator, self.folder, self.name = emulator, folder, folder.name
        self.pool = urllib3.PoolManager(retries=False, timeout=30, maxsize=8)
        self.headers: dict[str, str] = {}
        self.unfinished_before = _unfinished(folder.parent)

    def request(
        self, verb: str, path: str, body: Any = None, headers: Any = None, **query: Any
    ) -> urllib3.BaseHTTPResponse:
        """Send a request; ``path`` may be an address, and else follows the emulator's."""
        url = path if path.startswith("http") else self.emulator.url + path
        if query:
            url += f"?{urlencode(query)}"
        return self.pool.request(
            verb, url, body=body, headers={**self.headers, **(headers or {})}, redirect=False
        )

    def about(
        self,
        verb: str,
        name: str | None = None,
        body: Any = None,
        headers: Any = None,
        **query: Any,
    ) -> urllib3.BaseHTTPResponse:
        """Send a request about the bucket's objects, or one of them."""
        path = f"/storage/v1/b/{self.name}/o" + ("" if name is None else f"/{quote(name, safe='')}")
        return self.request(verb, path, body, headers, **query)

    def upload(
        self, name: str, content: Any, headers: Any = None, **query: Any
    ) -> urllib3.BaseHTTPResponse:
        path = f"/upload/storage/v1/b/{self.name}/o"
        query = {"uploadType": "media", "name": name, **query}
        return self.request("POST", path, content, headers, **query)

    def put(self, name: str, content: bytes = b"x", **query: Any) -> dict[str, Any]:
        answer = self.upload(name, content, **query)
        assert answer.status == 200, answer.data
        return dict(answer.json())

    def begin(self, name: str, resource: Any = None, **headers: str) -> str:
        """Begin a resumable upload; return the address of its session."""
        path = f"/upload/storage/v1/b/{self.name}/o"
        body = json.dumps({"name": name, **(resource or {})}).encode()
        answer = self.request("POST", path, body, headers, uploadType="resumable")
        assert answer.status == 200, answer.data
        return answer.headers["location"]

    def download(self, name: str, headers: Any = None, **query: Any) -> Any:
        path = f"/download/storage/v1/b/{self.name}/o/{quote(name, safe='')}"
        return self.request("GET", path, None, headers, alt="media", **query)

    def list(self, **query: Any) -> dict[str, Any]:
        answer = self.about("GET", **query)
        assert answer.status == 200, answer.data
        return dict(answer.json())

    def names(self, **query: Any) -> list[str]:
        return [item["name"] for item in self.list(**query).get("items", [])]


def unfinished(bucket: Bucket) -> set[str]:
    """Return the files that are being written since the test began."""
    return _unfinished(bucket.folder.parent) - bucket.unfinished_before


def _unfinished(folder: Path) -> set[str]:
    found = folder / UNFINISHED
    return {path.name for path in found.iterdir()} if found.exists() else set()


def reason(answer: urllib3.BaseHTTPResponse) -> tuple[int, str]:
    """Return status and reason of a refusal, whose form is looked at."""
    error = answer.json()["error"]
    (entry,) = error["errors"]
    assert error["code"] == answer.status
    assert entry["message"] == error["message"] != ""
    assert answer.headers["server"] == "UploadServer"
    return answer.status, entry["reason"]
