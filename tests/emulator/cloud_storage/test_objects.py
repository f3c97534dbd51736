"""Objects and the files that they are: what happens when files change by another way."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from orthanc_gcp.emulator.cloud_storage import objects
from orthanc_gcp.emulator.cloud_storage.buckets import Buckets
from orthanc_gcp.emulator.cloud_storage.checksums import Checksums
from orthanc_gcp.emulator.cloud_storage.object_uri import ObjectUri
from orthanc_gcp.emulator.cloud_storage.objects import Objects
from orthanc_gcp.emulator.cloud_storage.preconditions import Preconditions
from orthanc_gcp.emulator.http.responses import Refusal
from orthanc_gcp.emulator.storage.object_table import ObjectTable
from orthanc_gcp.emulator.storage.storage import Storage

URI = ObjectUri("scans", "a")
ANY = Preconditions()


@pytest.fixture
def buckets(tmp_path: Path) -> Buckets:
    (tmp_path / "buckets" / "scans").mkdir(parents=True)
    return Buckets(tmp_path / "buckets")


def put(buckets: Buckets, made: Objects, content: bytes, said: int | None = None) -> None:
    unfinished, checksums = buckets.begin("scans"), Checksums()
    with unfinished.append() as file:
        file.write(content)
    checksums.update(content if said is None else bytes(said))
    made.finish(unfinished, URI, checksums, {"contentType": "a/b"}, ANY)


def test_what_is_said_survives_a_restart(tmp_path: Path, buckets: Buckets) -> None:
    with closing(Storage(tmp_path / "data")) as storage:
        made = Objects(buckets, ObjectTable(storage.database), lambda: 7.0)
        put(buckets, made, b"1")
        before = made.get(URI, ANY)
    assert (before.record.created, before.record.fields) == (7.0, {"contentType": "a/b"})
    with closing(Storage(tmp_path / "data")) as storage:
        made = Objects(buckets, ObjectTable(storage.database), lambda: 8.0)
        assert made.get(URI, ANY) == before


def test_another_file_in_its_place(tmp_path: Path, buckets: Buckets) -> None:
    with closing(Storage(tmp_path / "data")) as storage:
        made = Objects(buckets, ObjectTable(storage.database), lambda: 7.0)
        put(buckets, made, b"1")
        before = made.get(URI, ANY).record
        (tmp_path / "buckets" / "scans" / "a").write_bytes(b"other")
        after = made.get(URI, ANY).record
        assert after.generation > before.generation
        assert after.fields == {}
        assert after.md5 != before.md5
        put(buckets, made, b"1")
        assert made.get(URI, ANY).record.generation > after.generation


def test_a_file_that_is_too_long_to_be_read(
    tmp_path: Path, buckets: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "MAX_HASHED", 3)
    with closing(Storage(tmp_path / "data")) as storage:
        made = Objects(buckets, ObjectTable(storage.database), lambda: 7.0)
        for content, is_read in ((b"123", True), (b"1234", False)):
            (tmp_path / "buckets" / "scans" / "a").write_bytes(content)
            record = made.get(URI, ANY).record
            assert (record.md5 is not None, record.crc32c is not None) == (is_read, is_read)


def test_a_file_that_is_not_what_was_written(tmp_path: Path, buckets: Buckets) -> None:
    with closing(Storage(tmp_path / "data")) as storage:
        made = Objects(buckets, ObjectTable(storage.database), lambda: 7.0)
        with pytest.raises(Refusal) as refused:
            put(buckets, made, b"1", said=2)
        assert refused.value.response.status_code == 503
        assert list(buckets.object_names("scans")) == []
