"""A data set that is being received."""

from __future__ import annotations

import shutil
import tempfile
from collections import namedtuple

import pytest

from orthanc_gcp.gateway import spool as module
from orthanc_gcp.gateway.spool import IN_MEMORY, Spool


@pytest.mark.parametrize("size", [0, 10, IN_MEMORY + 10])
def test_what_is_written_is_read(size):
    content = bytes(range(256)) * (size // 256 + 1)
    spool = Spool()
    for begin in range(0, len(content), 65536):
        spool.write(content[begin : begin + 65536])
    assert spool.problem == ""
    assert spool.head(5) == content[:5]
    assert b"".join(spool.pieces()) == content
    assert b"".join(spool.pieces()) == content, "a second time"
    spool.close()
    spool.close()
    spool.write(b"more")  # what comes after its end is nothing
    assert spool.problem


def test_without_room_for_it(monkeypatch):
    monkeypatch.setattr(module, "_LOOK_EVERY", 10)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1000))
    spool = Spool()
    spool.write(b"x" * 20)
    spool.write(b"x")
    assert spool.problem == "there is no room for temporary files"


def test_a_folder_that_is_gone(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    monkeypatch.setattr(module, "_LOOK_EVERY", IN_MEMORY * 10)
    spool = Spool()
    spool.write(b"x" * (IN_MEMORY + 1))
    assert spool.problem == "No such file or directory"
    spool.write(b"x")


def test_nothing_is_kept_of_what_is_discarded():
    spool = Spool(discards=True)
    spool.write(b"x")
    assert spool.problem
    spool.close()
