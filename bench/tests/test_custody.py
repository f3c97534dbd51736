"""What the measurements of transfers stand on: the link loses nothing, the files are DICOM."""

from __future__ import annotations

import io
import itertools
import secrets
import socket
import socketserver
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pydicom
import pytest

from bench.custody import Options, measurements
from bench.custody_rows import CHECKS
from bench.network import LOOPBACK, Network, Proxy
from bench.workload import BOUNDARY, Workload, instances, prepare
from tests.support.orthanc import DICOMWEB, Orthanc

CONNECTIONS = 16
SLOW = Network(0.004, 20_000_000)


class Echo(socketserver.BaseRequestHandler):
    """Sends everything back, then a farewell after the end of what it received."""

    request: socket.socket

    def handle(self) -> None:
        while data := self.request.recv(65536):
            self.request.sendall(data)
        self.request.sendall(b"farewell")


class EchoServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = CONNECTIONS


@pytest.fixture
def echo() -> Iterator[str]:
    with EchoServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"tcp://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def exchange(url: str, message: bytes) -> bytes:
    """Send a message and its end; return everything that comes back until the end."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port or 0), timeout=60) as connection:

        def send() -> None:
            connection.sendall(message)
            connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        received = b"".join(iter(lambda: connection.recv(65536), b""))
        sender.join()
        return received


@pytest.mark.parametrize("network", [LOOPBACK, SLOW], ids=str)
def test_the_link_passes_everything_in_order_both_ways(echo: str, network: Network) -> None:
    messages = [secrets.token_bytes(1_500_000) for _ in range(CONNECTIONS)]
    with Proxy(echo, network) as proxy, ThreadPoolExecutor(CONNECTIONS) as pool:
        answers = list(pool.map(exchange, itertools.repeat(proxy.url), messages))
    assert answers == [message + b"farewell" for message in messages]


def test_the_link_ends_a_connection_that_finds_no_server() -> None:
    with socket.socket() as silent:  # it has a port, and does not listen
        silent.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with Proxy(url, LOOPBACK) as proxy:
            host, _, port = proxy.url.rpartition("//")[2].rpartition(":")
            with socket.create_connection((host, int(port)), timeout=30) as connection:
                assert _read(connection) == b""


def _read(connection: socket.socket) -> bytes:
    """What comes before the end, however the connection ends."""
    try:
        return connection.recv(1)
    except ConnectionError:
        return b""


def test_a_workload_is_dicom_with_uids_of_its_own() -> None:
    studies = [
        [pydicom.dcmread(io.BytesIO(head + bytes(pixels))) for head, pixels in study]
        for study in instances(Workload(2, 3, 10_000))
    ]
    assert [len(study) for study in studies] == [3, 3]
    every = [dataset for study in studies for dataset in study]
    assert len({dataset.SOPInstanceUID for dataset in every}) == 6
    assert [len({dataset.StudyInstanceUID for dataset in study}) for study in studies] == [1, 1]
    assert len({dataset.StudyInstanceUID for dataset in every}) == 2
    for dataset in every:
        assert dataset.pixel_array.size == len(dataset.PixelData) == 10_000


@pytest.mark.parametrize(
    ("workload", "scaled"),
    [
        (Workload(200, 10, 8), Workload(20, 10, 8)),
        (Workload(1, 4000, 8), Workload(1, 400, 8)),
        (Workload(1, 1, 4000), Workload(1, 1, 400)),
        (Workload(3, 10, 8), Workload(1, 10, 8)),
    ],
)
def test_a_workload_at_a_tenth(workload: Workload, scaled: Workload) -> None:
    assert workload.scaled(0.1) == scaled


def test_orthancs_start_with_a_load(tmp_path: Path) -> None:
    load = prepare(Workload(2, 3, 10_000), tmp_path / "load", body=True)
    assert load.body is not None
    parts = load.body.read_bytes().split(f"--{BOUNDARY}\r\n".encode())[1:]
    for name in ("first", "second"):
        orthanc = Orthanc(tmp_path / name, {}, plugins=(DICOMWEB,), python_script="")
        load.copy(orthanc.folder)
        with orthanc:
            held = {
                study: orthanc.json("GET", f"/studies/{study}/instances") for study in load.studies
            }
            files = [
                orthanc.request("GET", f"/instances/{instance}/file").data
                for study in load.studies.values()
                for instance in study
            ]
        assert {name: {entry["ID"] for entry in held[name]} for name in held} == {
            study: set(listed) for study, listed in load.studies.items()
        }
        bodies = [part.partition(b"\r\n\r\n")[2] for part in parts]
        closing = f"--{BOUNDARY}--\r\n".encode()
        assert [body.removesuffix(closing).removesuffix(b"\r\n") for body in bodies] == files
        assert sum(map(len, files)) == load.bytes


def test_what_it_costs_to_make_sure(tmp_path: Path) -> None:
    with closing(measurements(tmp_path, [7], Options(scale=0.01))) as rows:
        measurement = next(rows)
        taken = measurement.round(measurement.subjects)
    assert list(taken) == list(CHECKS)
    for figures in taken.values():
        assert 0 < figures["acknowledged"] <= figures["seconds"] + 0.5
        assert figures["cpu"] > 0
