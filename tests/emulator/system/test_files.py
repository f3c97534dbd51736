"""Open files, on systems with and without what POSIX has."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from orthanc_gcp.emulator.system.files import file_of, open_to_read, read_at

CONTENT = bytes(range(256)) * 40


@pytest.fixture(params=["POSIX", "without"], autouse=True)
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "without":
        monkeypatch.delattr(os, "pread")
        monkeypatch.delattr(os, "memfd_create")


def test_bytes_are_read_anywhere_and_the_position_stays() -> None:
    descriptor = file_of(CONTENT)
    try:
        assert os.read(descriptor, 3) == CONTENT[:3]
        assert read_at(descriptor, 5, 256) == CONTENT[256:261]
        assert read_at(descriptor, 100, len(CONTENT) - 7) == CONTENT[-7:]
        assert read_at(descriptor, 1, len(CONTENT) + 9) == b""
        assert os.read(descriptor, 3) == CONTENT[3:6]
    finally:
        os.close(descriptor)


def test_threads_that_read_one_file_at_once() -> None:
    descriptor = file_of(CONTENT)
    wrong: list[int] = []

    def read(offset: int) -> None:
        for _ in range(200):
            if read_at(descriptor, 16, offset) != CONTENT[offset : offset + 16]:
                wrong.append(offset)

    threads = [threading.Thread(target=read, args=(offset,)) for offset in range(0, 2000, 333)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.close(descriptor)
    assert wrong == []


def test_a_file_that_is_read_can_be_renamed_and_deleted(tmp_path: Path) -> None:
    path = tmp_path / "one"
    path.write_bytes(CONTENT)
    descriptor = open_to_read(str(path))
    path.rename(tmp_path / "other").unlink()
    assert read_at(descriptor, len(CONTENT), 0) == CONTENT
    os.close(descriptor)
    with pytest.raises(FileNotFoundError):
        open_to_read(str(path))


def test_nothing_is_a_file_too() -> None:
    descriptor = file_of(b"")
    assert read_at(descriptor, 1, 0) == b""
    os.close(descriptor)
