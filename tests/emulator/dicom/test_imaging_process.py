"""The imaging process, spoken to by hand: what it answers, has open, and may take."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

import psutil
import pytest

from orthanc_gcp.emulator.dicom.imaging_jobs import (
    FrameConversion,
    Job,
    Rendering,
    Transcoding,
    to_line,
)
from orthanc_gcp.emulator.dicom.imaging_process import MAX_MEMORY
from tests.emulator.dicom.imaging import compressed, wait_until

DEFAULT = "1.2.840.10008.1.2.1"
DECODE = FrameConversion(1, 1, DEFAULT)


class Talk:
    """A process, and what is said to it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        ours.settimeout(30)
        with theirs:
            self.popen = subprocess.Popen(
                [sys.executable, "-P", "-m", "orthanc_gcp.emulator.dicom.imaging_process"],
                stdin=theirs.fileno(),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        self.process = psutil.Process(self.popen.pid)
        self.socket = ours
        self._answers = ours.makefile("rb")

    def ask(self, job: Job, source: BinaryIO, target: BinaryIO) -> list[dict[str, Any]]:
        """Return the answers to a job, the last of which is the outcome."""
        socket.send_fds(self.socket, [to_line(job)], [source.fileno(), target.fileno()])
        answers = [json.loads(self._answers.readline())]
        while "progress" in answers[-1]:
            answers.append(json.loads(self._answers.readline()))
        return answers

    def close(self) -> None:
        self._answers.close()
        self.socket.close()
        self.popen.wait(30)

    def has_open(self, path: Path) -> bool:
        return str(path) in {file.path for file in self.process.open_files()}


@pytest.fixture(scope="module")
def talk() -> Iterator[Talk]:
    with closing(Talk()) as talk:
        yield talk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "image.dcm").write_bytes(compressed("5")[0])
    return tmp_path / "image.dcm"


@pytest.fixture
def source(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as file:
        yield file


@pytest.fixture
def target() -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as file:
        yield file


def test_a_frame(talk: Talk, source: BinaryIO, target: BinaryIO) -> None:
    assert talk.ask(DECODE, source, target) == [{"done": True}]
    target.seek(0)
    assert target.read() == compressed("5")[1].tobytes()


def test_an_instance_says_of_each_frame_that_it_is_done(
    talk: Talk, source: BinaryIO, target: BinaryIO
) -> None:
    answers = talk.ask(Transcoding(DEFAULT), source, target)
    assert answers == [*[{"progress": True}] * 2, {"done": True}]


@pytest.mark.parametrize(
    "job", [FrameConversion(3, 3, None), FrameConversion(1, 3, None), Rendering(3, 3, "", None)]
)
def test_a_refusal(talk: Talk, source: BinaryIO, target: BinaryIO, job: Job) -> None:
    refusal = {"refusal": "one of the frame indexes is not valid"}
    assert talk.ask(job, source, target)[-1] == refusal


def test_what_is_not_the_images_fault(talk: Talk, source: BinaryIO) -> None:
    with Path("/dev/full").open("r+b", buffering=0) as full:
        assert talk.ask(DECODE, source, full)[-1] == {"failure": "OSError"}
        assert talk.ask(Transcoding(DEFAULT), source, full)[-1] == {"failure": "OSError"}
    with tempfile.TemporaryFile() as target:
        assert talk.ask(DECODE, source, target)[-1] == {"done": True}


def test_the_last_image_is_open_for_a_moment(
    talk: Talk, path: Path, source: BinaryIO, target: BinaryIO
) -> None:
    for _ in range(3):
        assert talk.ask(DECODE, source, target)[-1] == {"done": True}
    assert talk.has_open(path)
    path.unlink()
    wait_until(lambda: not any("image.dcm" in file.path for file in talk.process.open_files()))


def test_another_file_in_the_place_of_the_last_one(
    talk: Talk, path: Path, source: BinaryIO
) -> None:
    """Even where the file system gives it the same number."""
    with tempfile.TemporaryFile() as target:
        assert talk.ask(DECODE, source, target)[-1] == {"done": True}
    source.close()
    path.unlink()
    path.write_bytes(compressed("4.90")[0])
    with path.open("rb") as other, tempfile.TemporaryFile() as target:
        assert talk.ask(DECODE, other, target)[-1] == {"done": True}
        target.seek(0)
        assert target.read() == compressed("4.90")[1].tobytes()


def test_what_it_may_take(talk: Talk) -> None:
    assert talk.process.rlimit(resource.RLIMIT_CORE) == (0, 0)
    assert talk.process.rlimit(resource.RLIMIT_AS) == (MAX_MEMORY, MAX_MEMORY)
    assert Path(f"/proc/{talk.popen.pid}/fd/2").readlink() == Path(os.devnull)


def test_it_ends_with_the_socket() -> None:
    talk = Talk()
    talk.close()
    assert talk.popen.returncode == 0


def test_it_ends_with_the_socket_in_the_middle_of_a_job() -> None:
    talk = Talk()
    talk.socket.sendall(b'{"kind"')
    talk.close()
    assert talk.popen.returncode == 0
