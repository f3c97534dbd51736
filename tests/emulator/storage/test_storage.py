"""Files and their index: one instance for each key, whatever happens."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.client import (
    Client,
    path_of,
    read,
)
from tests.emulator.updates import put, versions

AS_STORED = "application/dicom; transfer-syntax=*"


def test_many_at_once_leave_one(own_client: Client, tmp_path: Path) -> None:
    files = versions(8)
    threads = [threading.Thread(target=put, args=(own_client, file)) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (left,) = (tmp_path / "data" / "files").iterdir()
    assert left.read_bytes() == own_client.get(path_of(read(files[0])), AS_STORED).data
    assert not any((tmp_path / "data" / "staging").iterdir())


@pytest.mark.parametrize("died", ["before", "after"])
def test_a_crash_in_the_middle(tmp_path: Path, identities: Path, died: str) -> None:
    shutil.copy(identities, tmp_path)
    options = Options(tmp_path, write_credentials=tmp_path)
    old, new = versions(2)
    with Emulator(options) as emulator:
        client = Client(emulator.url, tmp_path)
        client.store(old if died == "before" else new)
        client.pool.clear()
    # Before the index knows the new one, both are in staging; after it, the old one is left.
    (kept,) = (tmp_path / "files").iterdir()
    kept.rename(tmp_path / "staging" / kept.name)
    (tmp_path / "staging" / "other").write_bytes(new if died == "before" else old)
    with Emulator(options) as emulator:
        client = Client(emulator.url, tmp_path)
        expected = old if died == "before" else new
        assert client.get(path_of(read(old)), AS_STORED).data == expected
        assert not any((tmp_path / "staging").iterdir())
        client.pool.clear()
