"""Files and their index: one instance for each key, whatever happens."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orthanc_gcp.emulator.resource_names import DatasetName, StoreName
from orthanc_gcp.emulator.server import Emulator, Options
from orthanc_gcp.emulator.storage.instances import StorageClass, StoredInstance
from orthanc_gcp.emulator.storage.records import InstanceKey
from orthanc_gcp.emulator.storage.storage import (
    BeingDeletedError,
    DeletionTarget,
    DirectoryInUseError,
    Storage,
)
from orthanc_gcp.emulator.storage.uploads import UploadResult
from tests.emulator.client import Client, make_dicom, path_of, read
from tests.emulator.contents import LARGE, stored_contents
from tests.emulator.updates import put, versions

ROW = 1
of_every_size = pytest.mark.parametrize(
    "sizes", [[2, 2], [2, LARGE], [LARGE, 2], [LARGE, LARGE]], ids=str
)
AS_STORED = "application/dicom; transfer-syntax=*"


def test_many_at_once_leave_one(own_client: Client, tmp_path: Path) -> None:
    files = versions(8, 2, LARGE)
    threads = [threading.Thread(target=put, args=(own_client, file)) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    left = own_client.get(path_of(read(files[0])), AS_STORED).data
    assert stored_contents(tmp_path / "data") == [left]


@pytest.mark.parametrize("died", ["before", "after"])
def test_a_crash_in_the_middle(tmp_path: Path, identities: Path, died: str) -> None:
    shutil.copy(identities, tmp_path)
    options = Options(tmp_path, write_credentials=tmp_path)
    old, new = versions(2, LARGE)
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


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    with closing(Storage(tmp_path)) as opened:
        yield opened


def keep(storage: Storage, content: bytes, *, replace: bool = False) -> UploadResult:
    upload = storage.begin()
    upload.write(memoryview(content))
    return storage.keep(ROW, upload.read_record(), upload, replace=replace)


def key_of(content: bytes) -> InstanceKey:
    found = read(content)
    return InstanceKey(found.StudyInstanceUID, found.SeriesInstanceUID, found.SOPInstanceUID)


def present(storage: Storage, content: bytes) -> StoredInstance:
    found = storage.index.instance(ROW, key_of(content))
    assert found is not None
    return found


def bytes_of(storage: Storage, instance: StoredInstance) -> bytes:
    with os.fdopen(storage.open(instance.file), "rb") as file:
        return file.read()


@of_every_size
def test_what_becomes_of_an_upload(storage: Storage, tmp_path: Path, sizes: list[int]) -> None:
    old, new = versions(2, *sizes)
    assert keep(storage, old) is UploadResult.STORED
    assert keep(storage, old) is UploadResult.IDENTICAL
    assert keep(storage, new) is UploadResult.DIFFERENT
    assert stored_contents(tmp_path) == [old]
    assert keep(storage, new, replace=True) is UploadResult.STORED
    assert bytes_of(storage, present(storage, new)) == new
    assert stored_contents(tmp_path) == [new]


def test_nothing_enters_what_is_being_deleted(storage: Storage, tmp_path: Path) -> None:
    content = make_dicom()
    key = key_of(content)
    targets = DeletionTarget(ROW, key.study, None), DeletionTarget(ROW, key.study, key.series)
    for target in targets:
        storage.begin_deletion(target)
        storage.begin_deletion(target)
        storage.end_deletion(target)
        with pytest.raises(BeingDeletedError):
            keep(storage, content)
        storage.end_deletion(target)
    assert stored_contents(tmp_path) == []
    storage.begin_deletion(DeletionTarget(ROW + 1, key.study, None))
    assert keep(storage, content) is UploadResult.STORED


@of_every_size
def test_a_file_is_swapped_if_it_is_still_there(
    storage: Storage, tmp_path: Path, sizes: list[int]
) -> None:
    old, new, late = versions(3, *sizes)
    keep(storage, old)
    first = present(storage, old)
    cold = StorageClass("COLDLINE", 1.0)
    storage.put_storage_class([first.file], cold, None)
    for content, file, is_there in ((new, first.file, True), (late, first.file, False)):
        upload = storage.begin()
        upload.write(memoryview(content))
        assert storage.swap(ROW, upload.read_record(), upload, file, None) is is_there
    second = present(storage, new)
    assert bytes_of(storage, second) == new
    assert storage.index.storage_class(second.file) == cold
    assert stored_contents(tmp_path) == [new]


@of_every_size
def test_a_swap_that_is_refused_leaves_the_old_file(
    storage: Storage, tmp_path: Path, sizes: list[int]
) -> None:
    old, new = versions(2, *sizes)
    keep(storage, old)
    storage.begin_deletion(DeletionTarget(ROW, key_of(old).study, None))
    upload = storage.begin()
    upload.write(memoryview(new))
    with pytest.raises(BeingDeletedError):
        storage.swap(ROW, upload.read_record(), upload, present(storage, old).file, None)
    assert stored_contents(tmp_path) == [old]


@pytest.mark.parametrize("replaced", [False, True])
def test_what_cannot_be_moved_is_there_all_the_same(
    storage: Storage, tmp_path: Path, replaced: bool
) -> None:
    old, new = versions(2, LARGE)
    if replaced:
        keep(storage, old)
    shutil.rmtree(tmp_path / "files")
    assert keep(storage, new, replace=True) is UploadResult.STORED
    assert bytes_of(storage, present(storage, new)) == new
    assert keep(storage, new) is UploadResult.IDENTICAL
    storage.close()
    with closing(Storage(tmp_path)) as again:
        assert bytes_of(again, present(again, new)) == new
        assert stored_contents(tmp_path) == [new]
        again.delete([present(again, new)])
        assert stored_contents(tmp_path) == []


@of_every_size
def test_deleted_instances_leave_nothing(
    storage: Storage, tmp_path: Path, sizes: list[int]
) -> None:
    gone, kept = (make_dicom(bytes(size)) for size in sizes)
    keep(storage, gone)
    keep(storage, kept)
    instance = present(storage, gone)
    storage.delete([instance])
    storage.delete([instance])
    assert storage.index.instance(ROW, instance.key) is None
    assert stored_contents(tmp_path) == [kept]
    with pytest.raises(FileNotFoundError):
        storage.open(instance.file)


def test_deleted_instances_give_the_disk_back(tmp_path: Path) -> None:
    with closing(Storage(tmp_path)) as storage:
        contents = [make_dicom(bytes(50_000)) for _ in range(40)]
        for content in contents:
            keep(storage, content)
        before = disk_usage(tmp_path)
        storage.delete([present(storage, content) for content in contents])
    assert before > 2_000_000
    assert disk_usage(tmp_path) < 500_000


def disk_usage(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*"))


def test_a_store_is_emptied_at_the_next_start_at_the_latest(tmp_path: Path) -> None:
    name = DatasetName("p", "l", "d").store("s")
    with closing(Storage(tmp_path)) as storage:
        storage.resources.create_dataset(name.parent, {})
        storage.resources.create_store(name, {})
        assert storage.resources.store_id(name) == ROW
        storage.resources.delete_store(name)
        keep(storage, make_dicom())  # an upload that had begun before
    with closing(Storage(tmp_path)):
        assert stored_contents(tmp_path) == []


@pytest.mark.parametrize("level", ["store", "dataset"])
def test_a_store_goes_with_its_instances(storage: Storage, tmp_path: Path, level: str) -> None:
    name = DatasetName("p", "l", "d").store("s")
    storage.resources.create_dataset(name.parent, {})
    storage.resources.create_store(name, {})
    keep(storage, make_dicom())
    keep(storage, make_dicom(bytes(LARGE)))
    assert len(stored_contents(tmp_path)) == 2
    if level == "store":
        storage.delete_store(name)
    else:
        storage.delete_dataset(name.parent)
    assert stored_contents(tmp_path) == []


def test_a_directory_is_for_one_emulator(tmp_path: Path) -> None:
    with (
        closing(Storage(tmp_path)),
        pytest.raises(DirectoryInUseError, match="is using"),
    ):
        Storage(tmp_path)
    Storage(tmp_path).close()


def test_searches_find_late_what_is_stored_and_deleted(tmp_path: Path) -> None:
    now = [0.0]
    with closing(Storage(tmp_path, lambda: 10.0, lambda: now[0])) as storage:
        content = make_dicom()

        def found() -> int:
            ((count,),) = storage.search_lag.read("SELECT COUNT(*) FROM instances", (), list)
            return int(count)

        keep(storage, content)
        assert (storage.index.totals(ROW).instances, found()) == (1, 0)
        now[0] = 10.0
        assert found() == 1
        storage.delete([present(storage, content)])
        assert (storage.index.totals(ROW).instances, found()) == (0, 1)
        now[0] = 20.0
        assert found() == 0


def test_nothing_is_left_when_everything_is_deleted(storage: Storage, tmp_path: Path) -> None:
    store = StoreName("p", "l", "d", "s")
    for _ in range(2):
        assert storage.resources.create_dataset(store.parent, {})
        assert storage.resources.create_store(store, {})
        number = storage.resources.store_id(store)
        assert number is not None
        for pixels in (b"00", bytes(200_000), b"00"):
            content = make_dicom(pixels=pixels)
            upload = storage.begin()
            upload.write(memoryview(content))
            storage.keep(number, upload.read_record(), upload)
        storage.clear()
        assert storage.resources.store_id(store) is None
        assert not storage.resources.has_dataset(store.parent)
        for table in ("stores", "studies", "series", "instances", "contents"):
            assert storage.database.read(f"SELECT COUNT(*) FROM {table}").fetchone() == (0,)
        for folder in ("files", "staging"):
            assert list((tmp_path / folder).iterdir()) == []


@pytest.mark.parametrize("system", ["Linux", "another"])
def test_what_is_in_the_database_is_opened_like_a_file(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    if system != "Linux":
        monkeypatch.delattr(os, "memfd_create")
    content = make_dicom()
    keep(storage, content)
    descriptor = storage.open(present(storage, content).file)
    try:
        assert os.fstat(descriptor).st_size == len(content)
        assert os.pread(descriptor, 4, 128) == b"DICM"
        assert os.read(descriptor, len(content) + 1) == content
    finally:
        os.close(descriptor)


def test_searches_that_lag_have_no_content(tmp_path: Path) -> None:
    now = [0.0]
    with closing(Storage(tmp_path, lambda: 10.0, lambda: now[0])) as storage:

        def found(table: str) -> int:
            ((count,),) = storage.search_lag.read(f"SELECT COUNT(*) FROM {table}", (), list)
            return int(count)

        for _ in range(2):
            keep(storage, make_dicom())
        now[0] = 10.0
        assert (found("instances"), found("contents")) == (2, 0)
        assert len(stored_contents(tmp_path)) == 2
