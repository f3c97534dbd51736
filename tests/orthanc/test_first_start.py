"""Since when Orthanc is to be followed, where no ledger says it."""

from __future__ import annotations

import json
import os

import pytest

from orthanc_gcp.orthanc.first_start import FILE_NAME, forget, note, note_read, noted


def test_the_first_moment_stays_until_more_was_read(tmp_path):
    folder = tmp_path / "not" / "there"
    assert note(folder, 100.5) == 100.5
    assert note(folder, 200.5) == 100.5
    note_read(folder, 150.5)
    assert note(folder, 300.5) == 150.5
    assert [one.name for one in folder.iterdir()] == [FILE_NAME]
    forget(folder)
    forget(folder)
    assert note(folder, 400.5) == 400.5


def test_what_was_noted_before_the_clock_was_set_back_does_not_count(tmp_path):
    note_read(tmp_path, 500.5)
    assert note(tmp_path, 100.5) == 100.5
    assert note(tmp_path, 600.5) == 100.5


NO_MOMENTS = [
    b"",
    b"{",
    b'"x"',
    b"-1",
    b"0",
    b"1e9",
    b"1e999",
    b"9" * 60,
    b"[1]",
    b"\xff",
    b"true",
    b"null",
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"[" * 5000,
    b'{"a":' * 5000,
    b" " * 5000 + b"50.5",
    b"1" * 5000,
]


@pytest.mark.parametrize("content", NO_MOMENTS, ids=lambda content: str(content[:12]))
def test_what_is_no_moment_of_before_is_written_anew(tmp_path, content):
    (tmp_path / FILE_NAME).write_bytes(content)
    assert note(tmp_path, 100.5) == 100.5
    assert note(tmp_path, 101.5) == 100.5


def test_what_might_not_end_is_not_read(tmp_path):
    os.mkfifo(tmp_path / FILE_NAME)
    assert note(tmp_path, 100.5) == 100.5
    assert json.loads((tmp_path / FILE_NAME).read_bytes()) == 100.5


def test_a_folder_in_its_place_is_said(tmp_path):
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(OSError, match=FILE_NAME):
        note(tmp_path, 100.5)
    assert [one.name for one in tmp_path.iterdir()] == [FILE_NAME], "nothing is left beside it"


def test_on_another_machine_nothing_is_noted(tmp_path):
    folder = tmp_path / "not" / "there"
    note_read(folder, 100.5)
    assert noted(folder, 200.5) is None
    assert list(tmp_path.iterdir()) == []
