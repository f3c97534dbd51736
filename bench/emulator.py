"""How fast the emulator takes instances, gives them back and searches, and in how much memory.

The baseline is a server that only moves bytes between a socket and a file, with the same client:
what this machine can do at all.
"""

from __future__ import annotations

import http.client
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from pydicom import dcmread
from pydicom.filebase import DicomBytesIO

from bench.frame import Figure, Figures, Goal, Measurement, Round
from bench.machine import peak_memory_mb
from bench.workload import BOUNDARY, Workload, blocks_of, instances
from tests.support.emulator import STORE_PATH, Emulator

__all__ = ["measurement"]

PLAIN = "bytes to a file and back"
EMULATOR = "emulator"
PLAIN_SERVER = Path(__file__).with_name("peers") / "plain_server.py"

LARGE = Workload(1, 1, 1 << 30)
MANY = Workload(1, 800, 512 * 1024)
SMALL = Workload(200, 10, 10_000)
GIANT = Workload(1, 1, 4_000_000_000)
SEARCHED = Workload(1000, 100, 100)
IN_A_REQUEST = 1000
SEARCHES = 20

FIGURES = (
    Figure("start", "Start of the process to the line that tells it is ready", "s", 2),
    Figure("large", "Store one instance of 1 GiB", "s", 2),
    Figure("read", "Retrieve it", "s", 2),
    Figure("many", "Store 800 instances of 512 KiB in one request (419 MB)", "s", 2),
    Figure("small", "Store 2,000 instances of 10 KB, a request each, one after the other", "s", 2),
    Figure("search", "A page of 100 studies, of 1,000 with 100,000 instances", "ms", 1),
    Figure("memory", "Peak memory after it stored and gave back an instance of 4 GB", "MB"),
)
# 250 and 400 MB a second, 400 small instances a second.
GOALS = tuple(
    Goal(figure, EMULATOR, most, "value")
    for figure, most in (
        ("start", 1.5),
        ("large", 4.29),
        ("read", 2.68),
        ("many", 1.68),
        ("small", 5.0),
        ("search", 50.0),
    )
)
PATH = f"/v1/{STORE_PATH}/dicomWeb/studies"
_PIECE = 1 << 20
_TIMEOUT = 300
_OK = 200

Part = tuple[bytes, int]


def measurement(folder: Path) -> Measurement:
    """Everything above, in a fresh process for each round; searches have one store for all."""
    searched = folder / "searched"
    takers: Mapping[str, Callable[[Path], Figures]] = {
        PLAIN: _plain,
        EMULATOR: lambda place: {**_emulator(place), **_search(searched), **_memory(place)},
    }

    def taken(order: Sequence[str]) -> Round:
        if not searched.exists():
            _fill(searched)
        figures = {}
        for name in order:
            place = folder / "round"
            place.mkdir(parents=True)
            try:
                figures[name] = takers[name](place)
            finally:
                shutil.rmtree(place)
        return figures

    return Measurement(
        "emulator", "The emulator", list(takers), FIGURES, taken, pairs=3, goals=GOALS
    )


class Client:
    """One connection to a server, and a token for it."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        address = urlsplit(url)
        self._connection = http.client.HTTPConnection(
            str(address.hostname), address.port, timeout=_TIMEOUT
        )
        self._headers = dict(headers)

    def store(self, parts: Sequence[Part]) -> None:
        """One request with some instances."""
        begin = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        end = f"--{BOUNDARY}--\r\n".encode()
        length = sum(len(begin) + len(head) + pixels + 2 for head, pixels in parts) + len(end)
        body = chain(
            chain.from_iterable(
                chain((begin,), blocks_of(head, pixels), (b"\r\n",)) for head, pixels in parts
            ),
            (end,),
        )
        kind = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
        headers = {"Content-Type": kind, "Content-Length": str(length)}
        self._connection.request("POST", PATH, body, {**self._headers, **headers})
        self._finish()

    def get(self, path: str, accept: str) -> int:
        """Read an answer piece by piece; its bytes."""
        self._connection.request("GET", path, headers={**self._headers, "Accept": accept})
        return self._finish()

    def _finish(self) -> int:
        response = self._connection.getresponse()
        piece, total = memoryview(bytearray(_PIECE)), 0
        while count := response.readinto(piece):
            total += count
        if response.status != _OK:
            raise RuntimeError(f"the server answered {response.status}")
        return total

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


def _plain(folder: Path) -> Figures:
    command = [sys.executable, str(PLAIN_SERVER), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            client = Client(f"http://127.0.0.1:{process.stdout.readline().strip()}", {})
            figures = _transfers(client)
            client.close()
        finally:
            process.kill()
    return figures


def _emulator(folder: Path) -> Figures:
    with _running(folder) as (emulator, client):
        figures = _transfers(client)
        emulator.stop()
        return {"start": _seconds(emulator.start), **figures}


def _transfers(client: Client) -> Figures:
    (large,) = _parts(LARGE)
    figures = {
        "large": _seconds(lambda: client.store([large])),
        "read": _seconds(lambda: _read(client, large)),
    }
    many = list(_parts(MANY))
    figures["many"] = _seconds(lambda: client.store(many))
    small = list(_parts(SMALL))
    figures["small"] = _seconds(lambda: [client.store([part]) for part in small])
    return figures


def _search(folder: Path) -> Figures:
    with _running(folder) as (_, client):
        times = [
            _seconds(lambda: client.get(f"{PATH}?limit=100", "application/dicom+json"))
            for _ in range(SEARCHES)
        ]
    return {"search": 1000 * median(times)}


def _memory(folder: Path) -> Figures:
    with _running(folder / "giant") as (emulator, client):
        (giant,) = _parts(GIANT)
        client.store([giant])
        _read(client, giant)
        return {"memory": peak_memory_mb(emulator.pid)}


def _fill(folder: Path) -> None:
    parts = list(_parts(SEARCHED))
    with _running(folder) as (_, client):
        for begin in range(0, len(parts), IN_A_REQUEST):
            client.store(parts[begin : begin + IN_A_REQUEST])


def _read(client: Client, part: Part) -> None:
    """Retrieve an instance; it must have all its bytes."""
    head, pixels = part
    uids = dcmread(DicomBytesIO(head), stop_before_pixels=True)
    path = f"{PATH}/{uids.StudyInstanceUID}/series/{uids.SeriesInstanceUID}"
    path += f"/instances/{uids.SOPInstanceUID}"
    size = client.get(path, "application/dicom; transfer-syntax=*")
    if size < len(head) + pixels:
        raise RuntimeError(f"{size} bytes came back of {len(head) + pixels}")


def _parts(workload: Workload) -> Iterator[Part]:
    return chain.from_iterable(instances(workload))


def _seconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


@contextmanager
def _running(folder: Path) -> Iterator[tuple[Emulator, Client]]:
    """An emulator, and a client of it that has a token."""
    emulator = Emulator(folder)
    client = Client(emulator.url, emulator.bearer())
    try:
        yield emulator, client
    finally:
        client.close()
        emulator.stop()
