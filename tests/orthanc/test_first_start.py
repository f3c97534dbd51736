"""Since when Orthanc is to be followed, until a ledger says it."""

from __future__ import annotations

import pytest

from orthanc_gcp.orthanc.first_start import FILE_NAME, forget, note


def test_the_first_moment_stays_until_a_ledger_has_it(tmp_path):
    folder = tmp_path / "not" / "there"
    assert note(folder, 100.5) == 100.5
    assert note(folder, 200.5) == 100.5
    forget(folder)
    forget(folder)
    assert note(folder, 300.5) == 300.5


@pytest.mark.parametrize("content", [b"", b"{", b'"x"', b"-1", b"1e9", b"[1]", b"\xff"])
def test_what_is_no_moment_of_before_is_written_anew(tmp_path, content):
    (tmp_path / FILE_NAME).write_bytes(content)
    assert note(tmp_path, 100.5) == 100.5
    assert note(tmp_path, 101.5) == 100.5
