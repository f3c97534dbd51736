"""Orthancs whose life takes milliseconds: indexes in memory, behind the routes that custody reads.

Their answers are those of Orthanc 1.10.1, and ``tests/orthanc/test_simulated_orthanc.py`` compares
them with those of a real one. An index is an object of its own: it can be copied as by a backup,
be in the place of another, be given to an Orthanc of another name, and lose its changes.
"""

from __future__ import annotations

import copy
import hashlib
import json
import random
import re
import threading
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pydicom
from pydicom.filebase import DicomBytesIO

from tests.support.raw_server import reset

__all__ = ["Index", "SimulatedOrthanc", "identifier"]

_PATHS = {
    "Patient": "patients",
    "Study": "studies",
    "Series": "series",
    "Instance": "instances",
}
_LEVELS = {path: level for level, path in _PATHS.items()}
_CHILDREN = {"Patient": "Studies", "Study": "Series", "Series": "Instances"}
_PARENT = {"Study": "ParentPatient", "Series": "ParentStudy", "Instance": "ParentSeries"}
_TAGS = {
    "Patient": ("PatientID", "PatientName"),
    "Study": ("StudyDate", "StudyInstanceUID"),
    "Series": ("Modality", "SeriesInstanceUID"),
    "Instance": ("SOPInstanceUID",),
}
STABLE_AGE = 60.0
"""Orthanc's option ``StableAge``, in seconds."""


def identifier(*names: str) -> str:
    """Orthanc's identifier of a resource (the Orthanc Book, "Orthanc identifiers")."""
    digest = hashlib.sha1("|".join(names).encode(), usedforsecurity=False).hexdigest()
    return "-".join(digest[start : start + 8] for start in range(0, 40, 8))


@dataclass
class Resource:
    """A patient, study, series or instance."""

    level: str
    identifier: str
    parent: str
    tags: dict[str, str]
    updated: str = ""
    changed_at: float = 0.0  # by the steady clock
    stable: bool = False
    protected: bool = False
    children: list[str] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    file: str = ""


class Index:
    """What an Orthanc has received: resources, files and changes.

    Parameters
    ----------
    clock
        Steady and wall clock of the machine.
    chance
        Of the UUIDs of files. A copy goes on with the same, so that none comes twice.
    """

    def __init__(self, clock: Any, chance: random.Random) -> None:
        self._clock, self._chance = clock, chance
        self.resources: dict[str, Resource] = {}  # in the order in which they came
        self.files: dict[str, bytes] = {}
        self.changes: list[dict[str, Any]] = []
        self.last = 0
        self.hidden: set[int] = set()
        """Changes of another writer, whose transaction has not ended yet."""
        self.noted: float | None = None
        """What the plugin has noted beside it; see :mod:`orthanc_gcp.orthanc.first_start`."""

    def copy(self) -> Index:
        """As it is now: a backup, or a clone."""
        made = copy.copy(self)
        made.resources = copy.deepcopy(self.resources)
        made.files, made.changes = dict(self.files), list(self.changes)
        made.hidden = set(self.hidden)
        return made

    def receive(self, content: bytes, *, overwrite: bool = True, hidden: bool = False) -> str:
        """Store an instance; its identifier."""
        dataset = pydicom.dcmread(DicomBytesIO(content), stop_before_pixels=True)
        names = [
            str(dataset.get(name, ""))
            for name in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        ]
        mine = identifier(*names)
        if mine in self.resources:
            if not overwrite:
                return mine
            self.delete(mine)
        first = self.last + 1
        self._add(dataset, names, content)
        if hidden:
            self.hidden |= set(range(first, self.last + 1))
        return mine

    def _add(self, dataset: Any, names: list[str], content: bytes) -> None:
        now, new, parent = self._now(), [], ""
        for depth, level in enumerate(_PATHS, 1):
            mine = identifier(*names[:depth])
            if mine not in self.resources:
                tags = {name: str(dataset[name].value) for name in _TAGS[level] if name in dataset}
                self.resources[mine] = Resource(level, mine, parent, tags)
                new.append(mine)
                if parent:
                    self.resources[parent].children.append(mine)
            one = self.resources[mine]
            one.changed_at, one.stable = self._clock.now(), False
            if level != "Instance":
                one.updated = now
            parent = mine
        instance = self.resources[parent]
        self._store(instance, content)
        meta = dataset.file_meta
        instance.metadata = {
            "HttpUsername": "",
            "Origin": "RestApi",
            "ReceptionDate": now,
            "RemoteAET": "",
            "RemoteIP": "127.0.0.1",
            "SopClassUid": str(dataset.SOPClassUID),
            "TransferSyntax": str(meta.TransferSyntaxUID),
        }
        for one in reversed(new):
            self._change(f"New{self.resources[one].level}", one)

    def _store(self, instance: Resource, content: bytes) -> None:
        instance.file = str(uuid.UUID(int=self._chance.getrandbits(128), version=4))
        self.files[instance.file] = content

    def compress(self, mine: str) -> None:
        """Store the file of an instance anew (``/attachments/dicom/compress``, ``uncompress``).

        It has another UUID then, and all else stays as it was, also its changes
        (``ServerContext::ChangeAttachmentCompression``).
        """
        content = self.content(mine)
        del self.files[self.resources[mine].file]
        self._store(self.resources[mine], content)

    def reconstruct(self, mine: str) -> None:
        """Store the file of an instance anew (``ReconstructFiles``, since Orthanc 1.11.0).

        Orthanc deletes the instance with its changes, and has it again as received at the same
        moment, with another file; no change reports that (``StatelessDatabaseOperations.cpp``).
        """
        content, metadata = self.content(mine), self.resources[mine].metadata
        dataset = pydicom.dcmread(DicomBytesIO(content), stop_before_pixels=True)
        names = [
            str(dataset.get(name, ""))
            for name in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        ]
        self.delete(mine)
        changes, last = list(self.changes), self.last
        self._add(dataset, names, content)
        self.changes, self.last = changes, last
        self.resources[mine].metadata = metadata

    def delete(self, mine: str) -> None:
        """Delete a resource with all below it, and what is above it and empty then."""
        one = self.resources[mine]
        for child in list(one.children):
            self.delete(child)
        if self.resources.pop(mine, None) is None:
            return  # its last child has taken it along
        self.files.pop(one.file, None)
        self.changes = [change for change in self.changes if change["ID"] != mine]
        above = self.resources.get(one.parent)
        if above is not None:
            above.children.remove(mine)
            if not above.children:
                self.delete(above.identifier)

    def clear_changes(self) -> None:
        """``DELETE /changes``."""
        self.changes, self.hidden = [], set()

    def show_hidden(self) -> None:
        """The other writer's transaction ends."""
        self.hidden = set()

    def note(self) -> float:
        """Since when it is to be followed: since what was noted, or else since now."""
        now = self._clock.utc().timestamp()
        if self.noted is None or not 0 < self.noted <= now:
            self.noted = now
        return self.noted

    def restart(self) -> None:
        """Orthanc forgets what is not stable yet, and never reports that it is."""
        for one in self.resources.values():
            one.stable = True

    def tick(self) -> bool:
        """Report what is stable by now; whether anything is."""
        before = self.last
        for one in sorted(self.resources.values(), key=lambda one: -list(_PATHS).index(one.level)):
            waits = one.level != "Instance" and not one.stable
            if waits and self._clock.now() - one.changed_at >= STABLE_AGE:
                one.stable = True
                self._change(f"Stable{one.level}", one.identifier)
        return self.last > before

    def of_level(self, level: str) -> list[Resource]:
        return [one for one in self.resources.values() if one.level == level]

    def size_of(self, mine: str) -> int:
        """Bytes of a resource and all below it."""
        one = self.resources[mine]
        own = len(self.files[one.file]) if one.file else 0
        return own + sum(map(self.size_of, one.children))

    def oldest_patient(self) -> str | None:
        """Which patient Orthanc recycles next; None where all are protected."""
        free = [one for one in self.of_level("Patient") if not one.protected]
        return min(free, key=lambda one: one.changed_at).identifier if free else None

    def content(self, mine: str) -> bytes:
        return self.files[self.resources[mine].file]

    def uids(self, mine: str) -> tuple[str, str, str]:
        """Those of the study, the series and the instance."""
        instance = self.resources[mine]
        series = self.resources[instance.parent]
        study = self.resources[series.parent]
        return (
            study.tags["StudyInstanceUID"],
            series.tags["SeriesInstanceUID"],
            instance.tags["SOPInstanceUID"],
        )

    def _now(self) -> str:
        utc: datetime = self._clock.utc()
        return utc.strftime("%Y%m%dT%H%M%S")

    def _change(self, kind: str, mine: str) -> None:
        self.last += 1
        level = self.resources[mine].level
        self.changes.append(
            {
                "ChangeType": kind,
                "Date": self._now(),
                "ID": mine,
                "Path": f"/{_PATHS[level]}/{mine}",
                "ResourceType": level,
                "Seq": self.last,
            }
        )

    # -- What the REST API says of it -----------------------------------------------------------

    def page_of_changes(self, since: int, limit: int) -> dict[str, Any]:
        after = [one for one in self._visible() if one["Seq"] > since]
        page = after[:limit] if limit else after
        done = len(page) == len(after)
        return {"Changes": page, "Done": done, "Last": page[-1]["Seq"] if page else self._end()}

    def newest_change(self) -> dict[str, Any]:
        newest = self._visible()[-1:]
        return {
            "Changes": newest,
            "Done": True,
            "Last": newest[0]["Seq"] if newest else self._end(),
        }

    def _visible(self) -> list[dict[str, Any]]:
        return [one for one in self.changes if one["Seq"] not in self.hidden]

    def _end(self) -> int:
        end = self.last
        while end in self.hidden:
            end -= 1
        return end

    def described(self, one: Resource, *, metadata: bool = False) -> dict[str, Any]:
        """A resource as JSON."""
        entry: dict[str, Any] = {"ID": one.identifier, "MainDicomTags": one.tags, "Type": one.level}
        if one.level in _PARENT:
            entry[_PARENT[one.level]] = one.parent
        if one.level == "Instance":
            entry |= {"FileSize": len(self.files[one.file]), "FileUuid": one.file}
            entry["IndexInSeries"] = None
        else:
            entry |= {"IsStable": one.stable, "LastUpdate": one.updated}
            entry[_CHILDREN[one.level]] = one.children
        if one.level == "Series":
            entry |= {"ExpectedNumberOfInstances": None, "Status": "Unknown"}
        if one.level == "Study":
            entry["PatientMainDicomTags"] = self.resources[one.parent].tags
        if metadata:
            entry["Metadata"] = one.metadata or {"LastUpdate": one.updated}
        return entry

    def bulk_content(self, question: dict[str, Any]) -> list[dict[str, Any]]:
        level = question.get("Level")
        found: dict[str, Resource] = {}
        for name in question["Resources"]:
            if name in self.resources:
                wanted = self._at_level(self.resources[name], level) if level else [name]
                found.update((one, self.resources[one]) for one in wanted)
        metadata = question.get("Metadata", True)
        return [self.described(one, metadata=metadata) for one in found.values()]

    def _at_level(self, one: Resource, level: str) -> list[str]:
        order = list(_PATHS)
        if one.level == level:
            return [one.identifier]
        if order.index(one.level) > order.index(level):
            return self._at_level(self.resources[one.parent], level)
        return [
            name for child in one.children for name in self._at_level(self.resources[child], level)
        ]

    def find(self, question: dict[str, Any]) -> list[str]:
        wanted = question["Query"]["SOPInstanceUID"].split("\\")
        return [
            one.identifier
            for one in self.of_level("Instance")
            if one.tags["SOPInstanceUID"] in wanted
        ]

    def statistics(self) -> dict[str, Any]:
        size = sum(map(len, self.files.values()))
        counts = {
            f"Count{path.capitalize()}": len(self.of_level(_LEVELS[path])) for path in _LEVELS
        }
        return {
            **counts,
            "TotalDiskSize": str(size),
            "TotalDiskSizeMB": size >> 20,
            "TotalUncompressedSize": str(size),
            "TotalUncompressedSizeMB": size >> 20,
        }


class SimulatedOrthanc(ThreadingHTTPServer):
    """An Orthanc with an index, at an address of its own.

    Attributes
    ----------
    index
        What it has now; another one may come into its place.
    name
        Its option ``Name``.
    running
        While it does not, it hangs up.
    since
        What its plugin tells a worker, in UTC seconds.
    storage
        Its storage folder, which is on another machine.
    failures
        So many of the next requests are answered 500.
    """

    daemon_threads = True

    def __init__(self, index: Index, name: str = "test") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.index, self.name = index, name
        self.running, self.failures = True, 0
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.storage = Path("/nonexistent")
        self.since = 0.0
        self.unknown: list[str] = []
        """Questions that are not simulated."""

    def start(self, index: Index | None = None) -> None:
        """Start, or start again with another index."""
        if index is not None:
            self.index = index
        self.index.restart()
        self.since = self.index.note()
        self.running, self.failures = True, 0

    def stop(self) -> None:
        self.running = False

    def note_read(self, moment: float) -> None:
        """All that was received before a moment was read."""
        self.index.noted = moment

    def close(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up as they like."""

    def answer(self, method: str, target: str, body: bytes) -> Any:
        """Bytes, or what becomes JSON; None for 404.

        Raises
        ------
        ValueError
            Orthanc answers 400.
        """
        there = urlsplit(target)
        options = parse_qs(there.query, keep_blank_values=True)
        for pattern, respond in _ROUTES.items():
            wanted, path = pattern.split(" ")
            found = re.fullmatch(path, there.path)
            if found and wanted == method:
                return respond(self, options, body, *found.groups())
        self.unknown.append(f"{method} {target}")
        return None


Respond = Callable[..., Any]
_ROUTES: dict[str, Respond] = {}


def _route(pattern: str) -> Callable[[Respond], Respond]:
    def add(respond: Respond) -> Respond:
        _ROUTES[pattern] = respond
        return respond

    return add


def _number(options: dict[str, list[str]], name: str) -> int:
    return int(options.get(name, ["0"])[0])


@_route("GET /system")
def _system(orthanc: SimulatedOrthanc, *_: Any) -> Any:
    return {
        "ApiVersion": 16,
        "DatabaseBackendPlugin": None,
        "StorageAreaPlugin": None,
        "DatabaseVersion": 6,
        "DicomAet": "ORTHANC",
        "Name": orthanc.name,
        "Version": "1.10.1",
    }


@_route("GET /statistics")
def _statistics(orthanc: SimulatedOrthanc, *_: Any) -> Any:
    return orthanc.index.statistics()


@_route("GET /changes")
def _changes(orthanc: SimulatedOrthanc, options: dict[str, list[str]], *_: Any) -> Any:
    if "last" in options:
        return orthanc.index.newest_change()
    since, limit = _number(options, "since"), _number(options, "limit")
    return orthanc.index.page_of_changes(since, limit or 100)


@_route("DELETE /changes")
def _clear(orthanc: SimulatedOrthanc, *_: Any) -> Any:
    orthanc.index.clear_changes()
    return b""


@_route("POST /instances")
def _upload(orthanc: SimulatedOrthanc, options: Any, body: bytes) -> Any:
    mine = orthanc.index.receive(body)
    return {"ID": mine, "Path": f"/instances/{mine}", "Status": "Success"}


@_route("GET /(patients|studies|series|instances)")
def _list(orthanc: SimulatedOrthanc, options: dict[str, list[str]], body: bytes, path: str) -> Any:
    since, limit = _number(options, "since"), _number(options, "limit")
    found = orthanc.index.of_level(_LEVELS[path])[since:]
    page: Iterable[Resource] = found[:limit] if limit else found
    if "expand" in options:
        return [orthanc.index.described(one) for one in page]
    return [one.identifier for one in page]


@_route("GET /(patients|studies|series|instances)/([^/]+)")
def _one(orthanc: SimulatedOrthanc, options: Any, body: bytes, path: str, mine: str) -> Any:
    one = orthanc.index.resources.get(mine)
    return orthanc.index.described(one) if one and one.level == _LEVELS[path] else None


@_route("DELETE /(patients|studies|series|instances)/([^/]+)")
def _delete(orthanc: SimulatedOrthanc, options: Any, body: bytes, path: str, mine: str) -> Any:
    if mine not in orthanc.index.resources:
        return None
    orthanc.index.delete(mine)
    return {}


@_route("GET /patients/([^/]+)/statistics")
def _patient_statistics(orthanc: SimulatedOrthanc, options: Any, body: bytes, mine: str) -> Any:
    if mine not in orthanc.index.resources:
        return None
    return {"DiskSize": str(orthanc.index.size_of(mine))}


@_route("GET /patients/([^/]+)/protected")
def _protected(orthanc: SimulatedOrthanc, options: Any, body: bytes, mine: str) -> Any:
    one = orthanc.index.resources.get(mine)
    return None if one is None else (b"1" if one.protected else b"0")


@_route("PUT /patients/([^/]+)/protected")
def _protect(orthanc: SimulatedOrthanc, options: Any, body: bytes, mine: str) -> Any:
    one = orthanc.index.resources.get(mine)
    if one is None:
        return None
    one.protected = body.strip() not in (b"0", b"")
    return b""


@_route("GET /instances/([^/]+)/file")
def _file(orthanc: SimulatedOrthanc, options: Any, body: bytes, mine: str) -> Any:
    one = orthanc.index.resources.get(mine)
    return orthanc.index.files.get(one.file) if one else None


@_route("GET /instances/([^/]+)/attachments/dicom/(md5|size|info)")
def _attachment(orthanc: SimulatedOrthanc, options: Any, body: bytes, mine: str, what: str) -> Any:
    one = orthanc.index.resources.get(mine)
    if one is None:
        return None
    content = orthanc.index.files[one.file]
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if what == "md5":
        return md5.encode()
    if what == "size":
        return str(len(content)).encode()
    return {
        "CompressedMD5": md5,
        "CompressedSize": len(content),
        "ContentType": 1,
        "UncompressedMD5": md5,
        "UncompressedSize": len(content),
        "Uuid": one.file,
    }


@_route("POST /tools/bulk-content")
def _bulk_content(orthanc: SimulatedOrthanc, options: Any, body: bytes) -> Any:
    return orthanc.index.bulk_content(json.loads(body))


@_route("POST /tools/find")
def _find(orthanc: SimulatedOrthanc, options: Any, body: bytes) -> Any:
    return orthanc.index.find(json.loads(body))


class _Handler(BaseHTTPRequestHandler):
    server: SimulatedOrthanc
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together

    def _respond(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.server.running:
            self.close_connection = True
            reset(self.connection)
            return
        status, answer = 500, None
        with self.server.lock:
            if self.server.failures:
                self.server.failures -= 1
            else:
                answer = self.server.answer(self.command, self.path, body)
                status = 404 if answer is None else 200
                if answer is not None and not isinstance(answer, bytes):
                    answer = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer or b"")))
        self.end_headers()
        self.wfile.write(answer or b"")

    do_GET = do_POST = do_PUT = do_DELETE = _respond  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""
