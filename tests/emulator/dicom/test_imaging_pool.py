"""The processes of the codecs: everything that can befall them, and the emulator goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import numpy as np
import psutil
import pytest

from orthanc_gcp.emulator.dicom.imaging_errors import ImagingError
from orthanc_gcp.emulator.dicom.imaging_jobs import FrameConversion
from orthanc_gcp.emulator.dicom.imaging_pool import ImagingPool, ImagingProcessError
from tests.emulator.client import Client, path_of, read, sample, split
from tests.emulator.dicom.imaging import (
    DECODED,
    compressed,
    imaging_processes,
    wait_until,
    with_stream,
)
from tests.emulator.frames import STORED, put
from tests.emulator.images import image
from tests.emulator.processes import running

CLIENTS = 8
DEFAULT = "1.2.840.10008.1.2.1"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
DECODE = FrameConversion(1, 1, DEFAULT)


def at_once(ask: Callable[[], bytes]) -> set[bytes]:
    """Have 8 threads ask at the same moment, three times; return the different answers."""
    start = threading.Barrier(CLIENTS)

    def client(_: int) -> set[bytes]:
        start.wait(10)
        return {ask() for _ in range(3)}

    with ThreadPoolExecutor(CLIENTS) as threads:
        return set().union(*threads.map(client, range(CLIENTS)))


@pytest.mark.parametrize("suffix", DECODED)
def test_every_decoder_with_eight_clients_at_once(client: Client, suffix: str) -> None:
    content, pixels = compressed(suffix)
    path = put(client, content)

    def ask() -> bytes:
        ((label, frame),) = split(client.get(f"{path}/1"))
        assert label == f"application/octet-stream; transfer-syntax={DEFAULT}"
        return frame

    assert at_once(ask) == {pixels.tobytes()}


@pytest.mark.parametrize("suffix", ["4.50", "4.90", "4.91", "5", "8.1", "png", "rendered"])
def test_every_encoder_with_eight_clients_at_once(client: Client, suffix: str) -> None:
    path = put(client, sample("examples_ybr_color.dcm"))
    types = {"4.50": "jpeg", "4.90": "jp2", "4.91": "jp2", "5": "dicom-rle", "png": "png"}
    kind = f"image/{types[suffix]}" if suffix in types else "application/x-deflate"
    syntax = "" if suffix == "png" else f"; transfer-syntax=1.2.840.10008.1.2.{suffix}"
    accept = f'multipart/related; type="{kind}"{syntax}'

    def ask() -> bytes:
        if suffix == "rendered":
            return client.get(f"{path}/1/rendered").data
        ((label, frame),) = split(client.get(f"{path}/1", accept))
        assert label == f"{kind}{syntax}"
        return frame

    assert len(at_once(ask)) == 1


@pytest.mark.parametrize("suffix", DECODED)
def test_streams_that_are_cut_off_or_garbled(client: Client, suffix: str) -> None:
    content, _ = compressed(suffix)
    random = np.random.default_rng(7)

    def cut(stream: bytes) -> bytes:
        return stream[: int(random.integers(1, len(stream)))]

    def garble(stream: bytes) -> bytes:
        damaged = bytearray(stream)
        for at in random.integers(0, len(damaged), 8):
            damaged[at] = int(random.integers(0, 256))
        return bytes(damaged)

    for change in [lambda _: b"\0\0", lambda _: b"\xff" * 100, *[cut] * 2, *[garble] * 4]:
        other = client.of_new_store()
        path = put(other, with_stream(content, change)).removesuffix("/frames")
        for resource in ("/frames/1", "/rendered", ""):
            assert other.get(path + resource).status in (200, 400)
    assert client.get(put(client, content) + "/1").status == 200


def test_a_frame_that_is_said_to_be_absurdly_large(client: Client) -> None:
    path = put(client, image(np.zeros((2, 2), np.uint16), Rows=65535, Columns=65535))
    jpeg = 'multipart/related; type="image/jpeg"'
    for response in (client.get(f"{path}/1", jpeg), client.get(f"{path}/1/rendered")):
        assert response.status == 400


def test_a_stream_that_is_said_to_be_absurdly_large(client: Client) -> None:
    def enlarge(stream: bytes) -> bytes:
        size = stream.index(b"\xff\x51") + 6  # SIZ: marker, length, capabilities
        return stream[:size] + b"\x00\x10\x00\x00" * 2 + stream[size + 8 :]

    path = put(client, with_stream(sample("MR_small_jp2klossless.dcm"), enlarge))
    assert client.get(f"{path}/1").status == 400


@pytest.fixture
def file(tmp_path: Path) -> Iterator[BinaryIO]:
    """An image that has to be decoded."""
    (tmp_path / "image.dcm").write_bytes(compressed("4.70")[0])
    with (tmp_path / "image.dcm").open("rb") as opened:
        yield opened


@pytest.fixture
def pool() -> Iterator[ImagingPool]:
    with closing(ImagingPool()) as pool:
        yield pool


def finish(future: Future[BinaryIO]) -> bytes:
    with future.result(20) as made:
        return made.read()


def process_of(pool: ImagingPool, file: BinaryIO) -> tuple[bytes, psutil.Process]:
    """Have a job done; return what it made, and the process that did it."""
    before = imaging_processes()
    made = finish(pool.begin(DECODE, file.fileno()))
    (process,) = imaging_processes() - before
    return made, process


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_a_process_that_dies_of_something_else_is_replaced(
    pool: ImagingPool, file: BinaryIO, how: signal.Signals
) -> None:
    made, process = process_of(pool, file)
    process.suspend()
    future = pool.begin(DECODE, file.fileno())
    wait_until(future.running)
    process.send_signal(how)
    if how != signal.SIGKILL:  # others reach it when it goes on
        process.resume()
    assert finish(future) == made == compressed("4.70")[1].tobytes()
    wait_until(lambda: not process.is_running())  # nor is it a zombie


def test_a_process_that_is_killed_disturbs_no_other_request(own_client: Client) -> None:
    content, pixels = compressed("4.90")
    path, before = put(own_client, content), imaging_processes()
    assert own_client.get(f"{path}/1").status == 200
    (process,) = imaging_processes() - before
    process.suspend()
    with ThreadPoolExecutor(CLIENTS) as threads:
        answers = [threads.submit(own_client.get, f"{path}/1") for _ in range(CLIENTS)]
        if (os.cpu_count() or 1) > 1:  # else there is one process only, and all wait for it
            wait_until(lambda: sum(answer.done() for answer in answers) == CLIENTS - 1)
        process.kill()
    for answer in answers:
        assert split(answer.result())[0][1] == pixels.tobytes()


def test_a_process_that_dies_while_it_is_idle_is_replaced(
    pool: ImagingPool, file: BinaryIO
) -> None:
    made, process = process_of(pool, file)
    process.kill()
    wait_until(lambda: not process.is_running())
    assert finish(pool.begin(DECODE, file.fileno())) == made


def test_an_image_that_processes_die_of(pool: ImagingPool, file: BinaryIO) -> None:
    before = imaging_processes()
    future = pool.begin(DECODE, file.fileno())
    killed = set()
    while not future.done():
        for process in imaging_processes() - before - killed:
            process.kill()
            killed.add(process)
    with pytest.raises(ImagingError, match=r"^the codec crashed \(Killed\)$"):
        future.result()
    assert len(killed) == 2
    assert finish(pool.begin(DECODE, file.fileno())) == compressed("4.70")[1].tobytes()


def test_an_image_that_takes_too_long(file: BinaryIO) -> None:
    with closing(ImagingPool(time_limit=1)) as pool:
        made, process = process_of(pool, file)
        process.suspend()
        with pytest.raises(ImagingError, match="takes too long"):
            pool.begin(DECODE, file.fileno()).result(20)
        assert not process.is_running()
        assert finish(pool.begin(DECODE, file.fileno())) == made


def test_jobs_that_have_not_ended_when_it_is_closed(file: BinaryIO) -> None:
    with closing(ImagingPool()) as pool:
        _, process = process_of(pool, file)
        process.suspend()
        future = pool.begin(DECODE, file.fileno())
        wait_until(future.running)
    with pytest.raises((ImagingError, ImagingProcessError)):
        future.result(0)
    assert not process.is_running()
    with pytest.raises(ImagingProcessError):
        pool.begin(DECODE, file.fileno())


def test_an_interpreter_that_is_not_there(
    pool: ImagingPool, file: BinaryIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ImagingProcessError, match="cannot be started"):
        pool.begin(DECODE, file.fileno()).result(20)


def test_what_needs_no_codec_starts_no_process(own_client: Client) -> None:
    before = imaging_processes()
    native, encapsulated = sample("MR_small_implicit.dcm"), sample("JPEG2000.dcm")
    path = put(own_client, native)
    other = put(own_client, encapsulated)
    for asked, accept in ((path, ""), (path, STORED), (other, STORED)):
        assert own_client.get(f"{asked}/1", accept).status == 200
    assert (
        own_client.get(path_of(read(native)), "application/dicom; transfer-syntax=*").status == 200
    )
    assert imaging_processes() == before


def test_the_emulator_itself_imports_nothing_that_calls_codecs() -> None:
    room = "orthanc_gcp.emulator.dicom"
    names = ("decoding", "compression", "rendering", "transcoding", "imaging_process")
    with_codecs = {f"{room}.{name}" for name in names}
    code = "import sys, orthanc_gcp.emulator.server; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert f"{room}.imaging_pool" in done.stdout.split()
    assert not with_codecs.intersection(done.stdout.split())


def test_it_ends_with_an_emulator_that_is_killed(tmp_path: Path) -> None:
    with running(tmp_path) as emulator:
        client = Client(emulator.url, tmp_path)
        assert client.get(f"{put(client, compressed('5')[0])}/1").status == 200
        (process,) = imaging_processes(emulator.popen.pid)
        emulator.kill()
        client.pool.clear()
    wait_until(lambda: not process.is_running())


SCRIPT = """
import sys
import threading
from pathlib import Path

sys.path[:0] = sys.argv[2:]
from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.client import Client, path_of, read, sample

folder = Path(sys.argv[1])
with Emulator(Options(folder / "data", write_credentials=folder)) as emulator:
    def ask():
        client = Client(emulator.url, folder)
        content = sample("MR_small_RLE.dcm")
        client.store(content)
        print(client.get(path_of(read(content)) + "/frames/1").status)
    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
"""


def test_scripts_need_not_guard_their_main_module(tmp_path: Path) -> None:
    """Nor need the package be installed: it is found where the script found it."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    paths = [*filter(None, sys.path), str(Path(__file__).parents[3])]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, script, tmp_path, *paths],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
    )
    assert (done.stdout, done.stderr) == ("200\n", "")
