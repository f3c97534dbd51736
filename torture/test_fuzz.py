"""What nobody should send, for a long time: to the emulator, and to a worker that goes on with it.

``N`` is how many examples each kind has.
"""

# ruff: noqa: S101

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import urllib3
from hypothesis import given
from hypothesis import seed as seeded
from hypothesis import strategies as st

from tests.support import fuzzed_emulator, fuzzed_worker
from tests.support.fuzzed_emulator import FuzzedEmulator
from tests.support.fuzzed_files import bombs, files
from tests.support.fuzzed_worker import FuzzedWorker
from tests.support.fuzzing import Request, Watched, ask, bounded, disturb, mutations
from tests.support.orthanc import wait_until
from tests.support.postgres import Postgres
from tests.support.site import SECRET, Site, make_study

EXAMPLES = int(os.environ.get("TORTURE_N") or 100)
SEED = int(os.environ.get("TORTURE_SEED") or random.SystemRandom().randrange(10**6))
MEGABYTE = 1024 * 1024
OF_FILES = fuzzed_emulator.retrievals() | fuzzed_emulator.patches | fuzzed_emulator.searches


@pytest.fixture(autouse=True)
def say_the_seed() -> None:
    print(f"\n{EXAMPLES} examples, seed {SEED}", flush=True)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FuzzedEmulator]:
    emulator = FuzzedEmulator(tmp_path_factory.mktemp("emulator"), lines_more=20 * EXAMPLES)
    try:
        yield emulator
        emulator.check()
    finally:
        emulator.end()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def worker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FuzzedWorker]:
    server = Postgres() if request.param == "postgresql" else None
    worker = FuzzedWorker(tmp_path_factory.mktemp("worker"), server.url if server else "")
    try:
        yield worker
        worker.check()
    finally:
        worker.end()
        if server:
            server.remove()


@bounded(EXAMPLES, SEED)
@seeded(SEED)
@given(fuzzed_worker.requests())
def test_requests_of_a_worker(worker: FuzzedWorker, request_: Request) -> None:
    ask(worker, request_)


@bounded(EXAMPLES, SEED)
@seeded(SEED)
@given(fuzzed_worker.requests().flatmap(mutations))
def test_what_may_be_no_request_of_a_worker(
    worker: FuzzedWorker, pieces: tuple[bytes, ...]
) -> None:
    disturb(worker, pieces)
    assert worker.answers()


@bounded(EXAMPLES, SEED)
@seeded(SEED)
@given(files(), st.lists(OF_FILES, min_size=5, max_size=5))
def test_files(emulator: FuzzedEmulator, content: bytes, asked: list[Request]) -> None:
    ask(emulator, fuzzed_emulator.storing(content))
    for request in asked:
        ask(emulator, request)
    emulator.empty()
    emulator.check()


@bounded(EXAMPLES, SEED)
@seeded(SEED)
@given(st.lists(fuzzed_emulator.everything, min_size=5, max_size=5))
def test_requests_of_an_emulator(emulator: FuzzedEmulator, requests: list[Request]) -> None:
    for request in requests:
        ask(emulator, request)
    emulator.check()


@bounded(EXAMPLES, SEED)
@seeded(SEED)
@given(fuzzed_emulator.objects(), st.lists(fuzzed_emulator.chunks(), max_size=5))
def test_uploads(
    emulator: FuzzedEmulator, request_: Request, going_on: list[tuple[str, bytes, str]]
) -> None:
    fuzzed_emulator.upload(emulator, request_, going_on)


@bounded(EXAMPLES, SEED)
@seeded(SEED)
@given(fuzzed_emulator.everything.flatmap(mutations))
def test_what_may_be_no_request_of_an_emulator(
    emulator: FuzzedEmulator, pieces: tuple[bytes, ...]
) -> None:
    disturb(emulator, pieces)
    assert emulator.answers()


@pytest.mark.parametrize("content", bombs(), ids=range(len(bombs())))
def test_files_that_want_to_become_much(emulator: FuzzedEmulator, content: bytes) -> None:
    ask(emulator, fuzzed_emulator.storing(content))
    image = fuzzed_emulator.IMAGE.replace(*reversed(fuzzed_emulator.INSTANCES))
    for path in ("", "/metadata", "/frames/1", "/rendered", "/bulkdata/7FE00010"):
        for accept in (b"*/*", b"application/dicom; transfer-syntax=1.2.840.10008.1.2.1"):
            headers = (fuzzed_emulator.BEARER, (b"Accept", accept))
            ask(emulator, Request("GET", fuzzed_emulator.WEB + image + path, headers))
    emulator.empty()
    emulator.check()


EMPTY_LISTS = b'{"a":[' + b"[]," * (3 * MEGABYTE) + b"[]]}"
EMPTY_OBJECTS = b"[" + b"{}," * (3 * MEGABYTE) + b"{}]"
ONE_SEQUENCE = b'[{"00091001":{"vr":"SQ","Value":' + EMPTY_OBJECTS + b"}}]"


def _transaction(kind: str, body: bytes) -> Request:
    content_type = f'multipart/related; type="{kind}"; boundary=x'
    header = (b"Content-Type", content_type.encode())
    return Request("POST", f"{fuzzed_emulator.WEB}/studies", (fuzzed_emulator.BEARER, header), body)


def _metadata(text: bytes) -> Request:
    head = b"--x\r\nContent-Type: application/dicom+json\r\n\r\n"
    return _transaction("application/dicom+json", head + text + b"\r\n--x--\r\n")


def eight_at_once(watched: Watched, request: Request) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: ask(watched, request), range(8)))
    watched.check()
    assert watched.answers()


@pytest.mark.parametrize(
    "request_",
    [
        Request("POST", f"{fuzzed_emulator.STORE}:import", (fuzzed_emulator.BEARER,), EMPTY_LISTS),
        _metadata(EMPTY_OBJECTS),
        _metadata(ONE_SEQUENCE),
        _transaction("application/dicom", b"--x\r\n\r\n\r\n" * (2 * MEGABYTE) + b"--x--"),
    ],
    ids=["lists", "instances", "items", "parts"],
)
def test_bodies_that_want_to_become_much(emulator: FuzzedEmulator, request_: Request) -> None:
    eight_at_once(emulator, request_)


def test_bodies_that_want_to_become_much_in_a_worker(worker: FuzzedWorker) -> None:
    path = f"/gcp/accounts/{fuzzed_worker.ACCOUNT_SEGMENT}/send"
    eight_at_once(worker, Request("POST", path, (fuzzed_worker.BEARER,), EMPTY_LISTS))


# -- Siege: both servers, held by those who send much, or nothing ---------------------------------


def _send_without_end(head: bytes, piece: bytes, total: int) -> Callable[[int], None]:
    def siege(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), 10) as connection, suppress(OSError):
            connection.sendall(head)
            for _ in range(total // len(piece)):
                connection.sendall(piece)

    return siege


def _drip(head: bytes, seconds: float) -> Callable[[int], None]:
    """A byte a second: broken off in time."""

    def siege(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.sendall(head)
            end = time.monotonic() + seconds
            with suppress(OSError):
                while time.monotonic() < end:
                    connection.sendall(b"a")
                    time.sleep(1)
                raise AssertionError("it is waited for")

    return siege


def _many(port: int) -> None:
    held = []
    for _ in range(1200):
        with suppress(OSError):
            held.append(socket.create_connection(("127.0.0.1", port), 10))
    time.sleep(5)
    for connection in held:
        connection.close()


def _pipelined(head: bytes) -> Callable[[int], None]:
    def siege(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.settimeout(5)
            with suppress(OSError):
                for _ in range(2000):
                    connection.sendall(head * 1000)

    return siege


def sieges(authorization: str, path: str, answer_path: str) -> list[Callable[[int], None]]:
    line = f"Host: 127.0.0.1\r\nAuthorization: Bearer {authorization}\r\n".encode()
    post = f"POST {path} HTTP/1.1\r\n".encode() + line
    get = f"GET {answer_path} HTTP/1.1\r\n".encode() + line
    chunked = post + b"Transfer-Encoding: chunked\r\n\r\n"
    block = b"a" * 65536
    return [
        _send_without_end(b"GET /", block, 200 * MEGABYTE),
        _send_without_end(get + b"X: ", block, 200 * MEGABYTE),
        _send_without_end(get, b"X: a\r\n" * 10_000, 200 * MEGABYTE),
        _send_without_end(chunked + b"1;", block, 2000 * MEGABYTE),
        _send_without_end(chunked, b"1;" + block + b"\r\na\r\n", 2000 * MEGABYTE),
        _send_without_end(chunked + b"0\r\n", b"X: a\r\n" * 10_000, 2000 * MEGABYTE),
        _send_without_end(chunked + b"0\r\nX: ", block, 2000 * MEGABYTE),
        _send_without_end(chunked, b"10000\r\n" + block + b"\r\n", 2000 * MEGABYTE),
        _send_without_end(post + b"Content-Length: 4000000000\r\n\r\n", block, 2000 * MEGABYTE),
        _send_without_end(b"", b"\r\n" * 30_000, 200 * MEGABYTE),
        _drip(get + b"X: ", 60),
        _drip(post + b"Content-Length: 1000\r\n\r\n", 200),
        _drip(chunked + b"1000\r\n", 200),
        _many,
        _pipelined(get + b"\r\n"),
        _pipelined(post + b"Content-Length: 2\r\n\r\n{}"),
    ]


def besiege(watched: Watched, all_of_them: list[Callable[[int], None]]) -> None:
    """Each siege, and all at once; meanwhile it answers."""
    failures: list[BaseException] = []

    def run(siege: Callable[[int], None]) -> None:
        try:
            siege(watched.port)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(siege,)) for siege in all_of_them]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert watched.answers()
        time.sleep(0.5)
    assert not failures
    watched.check()


def test_siege_of_a_worker(worker: FuzzedWorker) -> None:
    path = f"/gcp/accounts/{fuzzed_worker.ACCOUNT_SEGMENT}/send"
    besiege(worker, sieges(fuzzed_worker.SECRET, path, "/gcp/transfers"))


def test_siege_of_an_emulator(emulator: FuzzedEmulator) -> None:
    path = f"{fuzzed_emulator.STORE}:import"
    besiege(emulator, sieges(emulator.access_token, path, "/emulator/token"))


def upload_to(site: Site, content: bytes) -> str:
    """Orthanc may end an idle connection just when it is used again."""
    try:
        return site.upload(content)
    except urllib3.exceptions.ProtocolError:
        return site.upload(content)


def test_custody_goes_on_meanwhile(tmp_path: Path) -> None:
    with Site(tmp_path, listen=True) as site:
        site.wait_for_following()
        site.wait_for_api()
        port = int(site.api_url("").rpartition(":")[2])
        emulator_port = site.emulator.port
        done: list[Any] = []
        token = site.emulator.bearer()["Authorization"].partition(" ")[2]
        threads = [
            threading.Thread(target=lambda siege=siege, at=at: done.append(siege(at)))
            for at, all_of_them in (
                (port, sieges(SECRET, "/gcp/accounts/google/send", "/gcp/transfers")),
                (emulator_port, sieges(token, f"{fuzzed_emulator.STORE}:import", "/healthz")),
            )
            for siege in all_of_them
        ]
        for thread in threads:
            thread.start()
        sent = 0
        while any(thread.is_alive() for thread in threads):
            sent += len([upload_to(site, content) for content in make_study(instances=5)])
            time.sleep(0.5)
        wait_until(lambda: site.states() == {"confirmed": sent}, 60, lambda: str(site.states()))
        assert len(done) == len(threads)
        assert "Traceback" not in site.log()
        assert site.log().count("\n") < 100
