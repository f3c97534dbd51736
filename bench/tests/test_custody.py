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
from bench.custody_rows import BEFORE, CHECKS, CLIENT_8, CURL, PLUGIN_8, ROWS, WORKER
from bench.frame import Measurement, Round
from bench.network import LOOPBACK, NETWORKS, Network, Proxy
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


def measured(folder: Path, row: int, options: Options) -> tuple[Measurement, Round, str]:
    """The first measurement of a row, one round of it, and what stands below its tables."""
    with closing(measurements(folder, [row], options)) as rows:
        measurement = next(rows)
        return measurement, measurement.round(measurement.subjects), measurement.appendix()


@pytest.mark.parametrize("network", ["google", "google-https"])
def test_everybody_transfers_at_googles_pace(tmp_path: Path, network: str) -> None:
    subjects = (PLUGIN_8, CLIENT_8, CURL, WORKER)
    options = Options(scale=0.005, subjects=subjects, network=NETWORKS[network])
    measurement, taken, appendix = measured(tmp_path, 9, options)
    assert list(taken) == list(measurement.subjects) == list(subjects)
    for figures in taken.values():
        assert figures["seconds"] >= NETWORKS[network].wait
        assert figures["connections"] >= 1
        assert figures["refused"] == 0
    assert taken[WORKER]["seconds"] >= 2 * NETWORKS[network].wait  # stored, and found
    picture = appendix.partition("```text")[2].partition("```")[0]
    assert "Sss" in picture
    assert "STOW: 1, instances 10," in picture
    assert all(f"- {name}: " in appendix for name in subjects)


def test_a_quota_refuses(tmp_path: Path) -> None:
    network = Network(quota_bytes=2_000_000, quota_requests=100)
    options = Options(scale=0.005, subjects=(WORKER,), network=network, timeline=True)
    _, taken, _ = measured(tmp_path, 12, options)  # ten instances of 512 KiB
    assert taken[WORKER]["seconds"] > 0
    assert taken[WORKER]["refused"] > 0


def test_another_commit_is_measured_where_there_is_one(tmp_path: Path) -> None:
    assert BEFORE in ROWS[13][0].subjects
    assert list(measurements(tmp_path, [13], Options())) == []
    with closing(measurements(tmp_path, [13], Options(before=tmp_path))) as rows:
        assert BEFORE in next(rows).subjects


def test_the_guide_has_room_for_every_row() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "performance.md").read_text()
    for name in (row.name for rows in ROWS.values() for row in rows):
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        assert guide.count(begin) == guide.count(end) == 1
        assert guide.index(begin) < guide.index(end)
