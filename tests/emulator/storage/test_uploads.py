"""Instances that arrive, in memory and in files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from orthanc_gcp.emulator.dicom.reader import InvalidDicomError
from orthanc_gcp.emulator.storage.uploads import MAX_HELD, Upload
from tests.emulator.client import make_dicom, read
from tests.emulator.contents import LARGE


@pytest.mark.parametrize("pixels", [10, MAX_HELD, 2 * MAX_HELD])
def test_an_instance_arrives_in_pieces(tmp_path: Path, pixels: int) -> None:
    content = make_dicom(bytes(pixels))
    upload = Upload(tmp_path)
    for at in range(0, len(content), 1001):
        upload.write(memoryview(content[at : at + 1001]))
    is_file = len(content) > MAX_HELD
    record = upload.read_record()
    assert record.key.instance == read(content).SOPInstanceUID
    file = upload.stored_file()
    assert (file.size, file.sha256) == (len(content), hashlib.sha256(content).digest())
    assert file.content == (None if is_file else content)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([content] if is_file else [])
    upload.discard()
    assert not any(tmp_path.iterdir())


def test_what_is_no_instance(tmp_path: Path) -> None:
    upload = Upload(tmp_path)
    upload.write(memoryview(b"nonsense"))
    with pytest.raises(InvalidDicomError):
        upload.read_record()
    upload.discard()


def test_a_file_is_moved_once_it_is_complete(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    upload = Upload(tmp_path)
    upload.write(memoryview(bytes(LARGE)))
    upload.move_to(tmp_path / "files")
    upload.close()
    assert (tmp_path / "files" / upload.name).read_bytes() == bytes(LARGE)
    assert not (tmp_path / upload.name).exists()


def test_what_is_discarded_while_it_is_small_never_was_a_file(tmp_path: Path) -> None:
    upload = Upload(tmp_path)
    upload.write(memoryview(b"abc"))
    upload.move_to(tmp_path / "files")
    upload.discard()
    assert not any(tmp_path.iterdir())


def test_bytes_that_come_after_the_end_go_nowhere(tmp_path: Path) -> None:
    """A thread may still write when another has discarded the upload."""
    upload = Upload(tmp_path)
    upload.write(memoryview(bytes(LARGE)))
    upload.discard()
    with (tmp_path / "other").open("wb+") as other:  # it may get the number of the closed file
        upload.write(memoryview(b"abc"))
        assert other.read() == b""
    upload.discard()
    assert upload.stored_file().size == LARGE
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
