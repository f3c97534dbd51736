"""Fixtures of the tests of Cloud Storage: an emulator with buckets, and one that is for each."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.cloud_storage.bucket import Bucket
from tests.emulator.healthcare.conftest import place

__all__ = ["place"]


@pytest.fixture(scope="session")
def bucket_emulator(
    tmp_path_factory: pytest.TempPathFactory, identities: Path
) -> Iterator[Emulator]:
    """An emulator with a folder of buckets, for tests that leave it as they found it."""
    folder = tmp_path_factory.mktemp("cloud-storage")
    (folder / "buckets").mkdir()
    shutil.copy(identities, folder)
    buckets = folder / "buckets"
    options = Options(folder, write_credentials=folder, buckets=buckets, admin=True)
    with Emulator(options) as running:
        yield running


@pytest.fixture
def bucket(bucket_emulator: Emulator) -> Iterator[Bucket]:
    """A bucket of the test's own, and what talks about it to the JSON API."""
    assert bucket_emulator.credentials is not None
    folder = bucket_emulator.credentials / "buckets" / f"b-{secrets.token_hex(8)}"
    folder.mkdir()
    before = bucket_emulator.fault_settings.as_json()
    made = Bucket(bucket_emulator, folder)
    yield made
    bucket_emulator.fault_settings.change(**before)
    made.pool.clear()
