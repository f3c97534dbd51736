"""Locks on files, with ``flock(2)`` and with what stands in for it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from orthanc_gcp import file_locks
from orthanc_gcp.file_locks import file_lock, is_locked, lock_opened


@pytest.fixture(params=["flock", "filelock"], autouse=True)
def kind(request, monkeypatch):
    monkeypatch.setattr(file_locks, "HAS_FLOCK", request.param == "flock")
    return request.param


def test_one_has_it_at_a_time(tmp_path):
    path = tmp_path / "lock"
    one, other = file_lock(path), file_lock(path)
    assert not is_locked(path)
    assert one.acquire()
    assert is_locked(path)
    assert not other.acquire()
    one.release()
    assert not is_locked(path)
    assert other.acquire()
    one.release()  # it has none
    assert is_locked(path)
    other.release()


def test_nobody_has_a_file_that_is_not_there(tmp_path):
    assert not is_locked(tmp_path / "lock")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        file_lock(tmp_path / "file" / "lock").acquire()


def test_it_ends_with_the_process(tmp_path, kind):
    path = tmp_path / "lock"
    code = (
        "import os, sys; from orthanc_gcp import file_locks;"
        f"file_locks.HAS_FLOCK = {kind == 'flock'};"
        "lock = file_locks.file_lock(__import__('pathlib').Path(sys.argv[1]));"
        "assert lock.acquire();"
        "print('on', flush=True); sys.stdin.read(); os._exit(9)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"on\n"
        assert is_locked(path)
        assert not file_lock(path).acquire()
        process.kill()
        process.wait()
    assert not is_locked(path)
    mine = file_lock(path)
    assert mine.acquire()
    mine.release()


def test_it_is_for_its_owner_alone(tmp_path):
    lock = file_lock(tmp_path / "lock")
    assert lock.acquire()
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600
    lock.release()


def test_a_file_that_is_open_can_be_written_by_who_has_it(tmp_path):
    path = tmp_path / "report"
    file, other = (os.open(path, os.O_RDWR | os.O_CREAT, 0o600) for _ in range(2))
    held = lock_opened(file, path)
    with pytest.raises(BlockingIOError):
        lock_opened(other, path)
    os.write(file, b"one")
    assert path.read_bytes() == b"one"  # nor is it emptied by who is refused
    os.close(file)
    if held is not None:
        held.release()
    again = lock_opened(other, path)
    os.close(other)
    if again is not None:
        again.release()
    assert path.read_bytes() == b"one"
