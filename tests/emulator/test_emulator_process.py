"""The command: starting, stopping, what outlives it."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import psutil
import pytest
import urllib3

from orthanc_gcp.emulator.server import DEFAULT_STORE
from tests.emulator.client import Client, make_dicom, path_of, read, sample
from tests.emulator.contents import stored_contents
from tests.emulator.processes import running


def test_one_line_and_a_quick_end_with_open_connections(tmp_path: Path) -> None:
    for how in (signal.SIGTERM, signal.SIGINT):
        with running(tmp_path) as process:
            client = Client(process.url, tmp_path)
            assert client.get("/studies").status == 204
            port = int(process.url.rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port)) as upload:
                upload.sendall(
                    f"POST /v1/{client.store_name}/dicomWeb/studies HTTP/1.1\r\nHost: localhost\r\n"
                    f"Authorization: Bearer {client.token}\r\nContent-Type: application/dicom\r\n"
                    "Content-Length: 1000\r\n\r\nDICM".encode()
                )
                time.sleep(0.1)
                started = time.monotonic()
                assert process.end(how) == (0, "", "")
                assert time.monotonic() - started < 3  # far less when nothing else runs
            client.pool.clear()


def test_a_restart_keeps_instances_tokens_and_credentials(tmp_path: Path) -> None:
    content = sample("CT_small.dcm")
    with running(tmp_path) as process:
        client = Client(process.url, tmp_path)
        assert client.store(content).status == 200
        deleted = make_dicom()
        client.store(deleted)
        study = f"/studies/{read(deleted).StudyInstanceUID}"
        operation = client.request("DELETE", study).json()["name"]
        files = {name: (tmp_path / name).read_bytes() for name in ("authorized-user.json",)}
        process.end()
    port = int(process.url.rpartition(":")[2])
    with running(tmp_path, port=port) as process:
        got = client.get(path_of(read(content)), "application/dicom; transfer-syntax=*")
        assert got.data == content
        assert len(client.search("/studies")) == 1
        assert client.get(f"{client.url}/v1/{operation}").json()["done"] is True
        assert files == {name: (tmp_path / name).read_bytes() for name in files}
        assert Client(process.url, tmp_path).get("/studies").status == 200
        client.pool.clear()


def test_kill_9_during_uploads_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    acknowledged: dict[str, bytes] = {}
    sent: dict[str, bytes] = {}

    def upload(client: Client, size: int) -> None:
        try:
            while True:
                content = make_dicom(bytes(size))
                path = path_of(read(content))
                sent[path] = content
                if client.store(content).status == 200:
                    acknowledged[path] = content
        except urllib3.exceptions.HTTPError:
            return

    with running(tmp_path) as process:
        client = Client(process.url, tmp_path)
        threads = [
            threading.Thread(target=upload, args=(client, size))
            for size in (100, 10_000, 3_000_000)
        ]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 20
        while len(acknowledged) < 30 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.kill()
        for thread in threads:
            thread.join()
        client.pool.clear()
    # As if one upload had been committed, but not yet moved, when the end came.
    stuck = next((tmp_path / "files").iterdir())
    stuck.rename(tmp_path / "staging" / stuck.name)
    with running(tmp_path) as process:
        client = Client(process.url, tmp_path)
        present = client.search("/instances", limit="50000")
        assert len(acknowledged) <= len(present) <= len(sent)
        for path, content in acknowledged.items():
            assert client.get(path, "application/dicom; transfer-syntax=*").data == content
        for match in present:
            uids = [match[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018")]
            path = "/studies/{}/series/{}/instances/{}".format(*uids)
            assert client.get(path, "application/dicom; transfer-syntax=*").data == sent[path]
        assert len(stored_contents(tmp_path)) == len(present)
        client.pool.clear()


def test_memory_stays_constant_both_ways(tmp_path: Path) -> None:
    size = 300 * 1024 * 1024
    small = make_dicom(
        b"", Rows=10240, Columns=30720, SamplesPerPixel=1, BitsAllocated=8, BitsStored=8
    )
    # The last four bytes are the length of the pixel data.
    head = small[:-4] + size.to_bytes(4, "little")
    block = bytes(1024 * 1024)

    def body() -> Iterator[bytes]:
        yield head
        yield from (block for _ in range(size // len(block)))

    with running(tmp_path) as process:
        client = Client(process.url, tmp_path)
        client.store(make_dicom(bytes(5_000_000)))
        with Peak(process.popen.pid) as peak:
            response = client.request("POST", "/studies", body(), content_type="application/dicom")
            assert response.status == 200
            for suffix, accept in (
                ("", "application/dicom; transfer-syntax=*"),
                ("/bulkdata/7FE00010", "application/octet-stream"),
                ("/frames/1", "*/*"),
            ):
                got = client.pool.request(
                    "GET",
                    client.web + path_of(read(small)) + suffix,
                    headers={"Authorization": f"Bearer {client.token}", "Accept": accept},
                    preload_content=False,
                )
                assert size <= sum(map(len, got.stream(1024 * 1024))) <= len(head) + size
                got.release_conn()
        client.pool.clear()
        assert peak.growth < 40 * 1024 * 1024


class Peak:
    """The growth of a process's resident memory while the block runs."""

    def __init__(self, pid: int) -> None:
        self._memory = psutil.Process(pid).memory_info
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.growth = 0

    def __enter__(self) -> Self:
        self._before = self._memory().rss
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.01):
            self.growth = max(self.growth, self._memory().rss - self._before)


def test_https_under_a_ca_that_is_kept(tmp_path: Path) -> None:
    with running(tmp_path, "--tls") as process:
        assert process.url.startswith("https://")
        ca = (tmp_path / "ca.pem").read_bytes()
        client = Client(process.url, tmp_path, ca_certs=str(tmp_path / "ca.pem"))
        assert client.store(make_dicom()).status == 200
        local = process.url.replace("127.0.0.1", "localhost")
        assert client.get(f"{local}/v1/{client.store_name}/dicomWeb/studies").status == 200
        client.pool.clear()
        distrusting = urllib3.PoolManager(retries=False)
        with pytest.raises(urllib3.exceptions.SSLError):
            distrusting.request("GET", process.url)
        process.end()
    leaf = (tmp_path / "server.pem").read_bytes()
    with running(tmp_path, "--tls", "--host", "127.0.0.1") as process:
        assert (tmp_path / "ca.pem").read_bytes() == ca
        assert (tmp_path / "server.pem").read_bytes() == leaf
        client = Client(process.url, tmp_path, ca_certs=str(tmp_path / "ca.pem"))
        assert len(client.search("/studies")) == 1
        client.pool.clear()


def test_a_certificate_for_further_names(tmp_path: Path) -> None:
    with running(tmp_path, "--tls-name", "healthcare.googleapis.com") as process:
        port = process.url.rpartition(":")[2]
        named = urllib3.HTTPSConnectionPool(
            *("127.0.0.1", int(port)),
            ca_certs=str(tmp_path / "ca.pem"),
            server_hostname="healthcare.googleapis.com",
            assert_hostname="healthcare.googleapis.com",
        )
        assert named.request("GET", "/").status == 200
        named.close()


def test_several_stores_and_short_tokens(tmp_path: Path) -> None:
    names = [f"projects/p/locations/l/datasets/d/dicomStores/{s}" for s in ("a", "b")]
    options = [argument for name in names for argument in ("--store", name)]
    with running(tmp_path, "--token-lifetime", "2", *options) as process:
        client = Client(process.url, tmp_path)
        for name in names:
            assert client.get(f"{process.url}/v1/{name}/dicomWeb/studies").status == 204
        assert client.get("/studies").status == 403
        time.sleep(2.1)
        assert client.get("/studies").status == 401
        client.pool.clear()


def test_secrets_are_for_their_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with running(folder, "--tls") as process:
        client = Client(process.url, folder, ca_certs=str(folder / "ca.pem"))
        assert client.store(make_dicom(bytes(100_000))).status == 200
    found = {path.relative_to(folder).parts[0] for path in folder.rglob("*")}
    assert {"service-account.json", "identities.json", "server.key", "ca.key", "files"} <= found
    for path in (folder, *folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "orthanc_gcp.emulator", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_two_on_one_directory(tmp_path: Path) -> None:
    with running(tmp_path):
        second = run("--port", "0", "--directory", str(tmp_path))
    assert second.returncode == 1
    assert second.stderr == (
        f"The emulator cannot start: another emulator is using {tmp_path}; "
        "choose another --directory\n"
    )


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with running(tmp_path / "one") as process:
        port = process.url.rpartition(":")[2]
        second = run("--port", port, "--directory", str(tmp_path / "two"))
    assert second.returncode == 1
    assert second.stderr == (
        f"The emulator cannot start: cannot listen at 127.0.0.1:{port}: Address already in use; "
        "choose another --port, or 0 for a free one\n"
    )


def test_a_metadata_port_that_is_taken(tmp_path: Path) -> None:
    with running(tmp_path / "one") as process:
        port = process.url.rpartition(":")[2]
        second = run("--port", "0", "--metadata-port", port, "--directory", str(tmp_path / "two"))
    assert second.returncode == 1
    assert f"cannot listen at 127.0.0.1:{port}: Address already in use" in second.stderr


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("--port", "0", "--directory", str(tmp_path / "file" / "data"))
    assert result.returncode == 1
    assert result.stderr == (
        f"The emulator cannot start: {tmp_path / 'file' / 'data'}: Not a directory\n"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="then every test runs without root")
def test_without_root() -> None:
    """Somebody who may read everything (Python itself, perhaps) and write in one folder only."""
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    reading = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    with tempfile.TemporaryDirectory() as name:
        os.chown(name, 65534, 65534)
        with running(Path(name), command=(*nobody, *reading)) as process:
            assert psutil.Process(process.popen.pid).uids().effective == 65534
            client = Client(process.url, Path(name))
            assert client.store(make_dicom()).status == 200
            client.pool.clear()
            assert process.end(signal.SIGINT) == (0, "", "")
        assert {path.stat().st_uid for path in Path(name).rglob("*")} == {65534}


@pytest.mark.parametrize(
    "command", [("-m", "orthanc_gcp.emulator"), ("-m", "orthanc_gcp", "emulator")]
)
def test_the_help_suffices(command: tuple[str, ...]) -> None:
    environment = {**os.environ, "COLUMNS": "120", "TERM": "dumb"}
    result = subprocess.run(
        [sys.executable, *command, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    store = f"{DEFAULT_STORE}/dicomWeb"
    lines = [line.strip() for line in result.stdout.splitlines()]
    shown = [line.removeprefix("STORE=") for line in lines if line.startswith("STORE=")]
    assert shown[0] + shown[1].removeprefix("$STORE") == f"http://127.0.0.1:8085/v1/{store}"
    assert any("http://127.0.0.1:8085/emulator/token" in line for line in lines)
    assert "orthanc-gcp emulator --write-credentials credentials" in lines


def test_a_store_that_has_no_such_name(tmp_path: Path) -> None:
    result = run("--directory", str(tmp_path), "--store", "a/b")
    assert result.returncode == 2
    assert "is not the name of a DICOM store" in re.sub(r"\s*│\s*", " ", result.stderr)


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['uvicorn'] = None; "
        "from orthanc_gcp.emulator.command import emulator; emulator()"
    )
    command = [sys.executable, "-c", program, "--directory", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 2
    assert "pip install 'orthanc-gcp[emulator]'" in result.stderr
