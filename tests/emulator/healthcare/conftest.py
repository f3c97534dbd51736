"""Fixtures of the Healthcare API's tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.client import Client
from tests.emulator.healthcare.buckets import Place


@pytest.fixture
def place(tmp_path: Path, identities: Path) -> Iterator[Place]:
    data, bucket = tmp_path / "data", tmp_path / "buckets" / "scans"
    data.mkdir()
    bucket.mkdir(parents=True)
    shutil.copy(identities, data)
    options = Options(data, write_credentials=data, buckets=bucket.parent)
    with Emulator(options) as emulator:
        client = Client(emulator.url, data)
        yield Place(emulator, client, bucket)
        client.pool.clear()
