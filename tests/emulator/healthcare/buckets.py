"""An emulator with a folder that stands for Cloud Storage."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orthanc_gcp.emulator.server import Emulator
from tests.emulator.client import STORE, Client, read
from tests.emulator.healthcare.test_operations import ended


@dataclass
class Place:
    """An emulator with a bucket, and a client of it."""

    emulator: Emulator
    client: Client
    bucket: Path

    def put(self, name: str, content: bytes) -> bytes:
        """Put an object into the bucket."""
        path = self.bucket / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return content

    def begin(self, method: str, body: Any) -> tuple[int, dict[str, Any]]:
        url = f"{self.client.url}/v1/{STORE}:{method}"
        answer = self.client.request("POST", url, json.dumps(body).encode())
        return answer.status, answer.json()

    def run(self, method: str, body: Any) -> dict[str, Any]:
        """Begin an operation and wait for its end."""
        status, answer = self.begin(method, body)
        assert status == 200, answer
        return ended(self.client, answer["name"])

    def load(self, uri: str, **more: Any) -> dict[str, Any]:
        return self.run("import", {"gcsSource": {"uri": uri}, **more})

    def save(self, uri: str, mime_type: str = "", **more: Any) -> dict[str, Any]:
        destination = {"uriPrefix": uri, **({"mimeType": mime_type} if mime_type else {})}
        return self.run("export", {"gcsDestination": destination, **more})

    def ids(self) -> set[str]:
        return {entry["00080018"]["Value"][0] for entry in self.client.search("/instances")}


def counter(operation: dict[str, Any]) -> dict[str, str]:
    return dict(operation["metadata"].get("counter", {}))


def exported(place: Place, prefix: str = "") -> dict[str, bytes]:
    folder = place.bucket / prefix
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def object_of(content: bytes) -> str:
    found = read(content)
    return f"{found.StudyInstanceUID}/{found.SeriesInstanceUID}/{found.SOPInstanceUID}.dcm"
