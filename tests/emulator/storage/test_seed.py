"""DICOM files that are stored before anybody asks."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orthanc_gcp.emulator.resource_names import StoreName
from orthanc_gcp.emulator.server import DEFAULT_STORE
from orthanc_gcp.emulator.storage import seed as module
from orthanc_gcp.emulator.storage.seed import Seed, store_seed
from orthanc_gcp.emulator.storage.storage import Storage
from tests.emulator.client import make_dicom, read, sample


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    storage = Storage(tmp_path / "data")
    storage.resources.create_dataset(DEFAULT_STORE.parent, {})
    storage.resources.create_store(DEFAULT_STORE, {})
    yield storage
    storage.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "seed"
    folder.mkdir()
    return folder


def seeded(storage: Storage, folder: Path) -> list[str]:
    """Store a folder; return what was reported, without the folder's own path."""
    row = storage.resources.store_id(DEFAULT_STORE)
    assert row is not None
    lines: list[str] = []
    store_seed(storage, row, folder, lines.append)
    return [line.replace(str(folder), "SEED") for line in lines]


def stored(storage: Storage) -> list[str]:
    """Return the SOP Instance UIDs in the order of arrival."""
    row = storage.resources.store_id(DEFAULT_STORE)
    assert row is not None
    return [instance.key.instance for batch in storage.index.batches(row) for instance in batch]


def uid(content: bytes) -> str:
    return str(read(content).SOPInstanceUID)


def test_files_of_all_folders_in_the_order_of_their_paths(storage: Storage, folder: Path) -> None:
    contents = [make_dicom() for _ in range(3)]
    (folder / "b" / "c").mkdir(parents=True)
    for path, content in zip(("a", "b/c/1.dcm", "b/d"), contents, strict=True):
        (folder / path).write_bytes(content)
    assert seeded(storage, folder) == ["seeding from SEED: 3 stored, 0 there already, 0 left out"]
    assert stored(storage) == list(map(uid, contents))
    assert seeded(storage, folder) == ["seeding from SEED: 0 stored, 3 there already, 0 left out"]
    assert stored(storage) == list(map(uid, contents))


def test_what_is_no_dicom_is_named_and_left_out(storage: Storage, folder: Path) -> None:
    content = make_dicom()
    (folder / "good").write_bytes(content)
    (folder / "other bytes").write_bytes(
        make_dicom(
            pixels=b"22",
            **{
                name: getattr(read(content), name)
                for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
            },
        )
    )
    (folder / "readme.txt").write_text("Hello.")
    (folder / "empty").touch()
    (folder / "DICOMDIR").write_bytes(sample("DICOMDIR"))
    os.mkfifo(folder / "pipe")
    (folder / "nowhere").symlink_to("missing")
    lines = seeded(storage, folder)
    assert lines.pop() == "seeding from SEED: 1 stored, 0 there already, 6 left out"
    names = [line.split(": ")[1] for line in lines]
    assert all(line.startswith("not seeded: ") for line in lines)
    assert names == [
        f"SEED/{name}"
        for name in ("DICOMDIR", "empty", "nowhere", "other bytes", "pipe", "readme.txt")
    ]
    assert stored(storage) == [uid(content)]


def test_symbolic_links_are_followed_and_circles_end(
    storage: Storage, folder: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    contents = [make_dicom(), make_dicom()]
    (elsewhere / "1").write_bytes(contents[0])
    (tmp_path / "2").write_bytes(contents[1])
    (folder / "linked").symlink_to(elsewhere)
    (folder / "linked twice").symlink_to(elsewhere)
    (folder / "file").symlink_to(tmp_path / "2")
    (elsewhere / "up").symlink_to(folder)
    lines = seeded(storage, folder)
    assert lines == ["seeding from SEED: 2 stored, 0 there already, 0 left out"]
    assert sorted(stored(storage)) == sorted(map(uid, contents))


def test_what_cannot_be_read(
    storage: Storage, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("bad", "good", "secret"):
        (folder / name).write_bytes(make_dicom())
    really_open, really_read = os.open, os.read
    bad = []

    def open_(path: str, *arguments: int) -> int:
        if str(path).endswith("/secret"):
            raise PermissionError(errno.EACCES, "Permission denied")
        descriptor = really_open(path, *arguments)
        if str(path).endswith("/bad"):
            bad.append(descriptor)
        return descriptor

    def read_(descriptor: int, size: int) -> bytes:
        if bad and descriptor == bad[0]:
            bad.clear()
            raise OSError(errno.EIO, "Input/output error")
        return really_read(descriptor, size)

    monkeypatch.setattr(os, "open", open_)
    monkeypatch.setattr(os, "read", read_)
    assert seeded(storage, folder) == [
        "not seeded: SEED/bad: invalid DICOM instance: it cannot be read: Input/output error",
        "not seeded: SEED/secret: Permission denied",
        "seeding from SEED: 1 stored, 0 there already, 2 left out",
    ]


def test_names_that_no_terminal_should_see(storage: Storage, folder: Path) -> None:
    (Path(os.fsdecode(os.fsencode(folder) + b"/\xff\x1b[2J\n"))).touch()
    (line, _) = seeded(storage, folder)
    assert line.startswith(r"not seeded: SEED/\udcff\x1b[2J\n: invalid DICOM instance")


def test_progress_is_reported_while_it_takes_long(
    storage: Storage, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SECONDS_BETWEEN_REPORTS", 0)
    for number in range(2):
        (folder / str(number)).write_bytes(make_dicom())
    assert seeded(storage, folder)[:2] == [
        "seeding from SEED: 1 stored, 0 there already, 0 left out so far",
        "seeding from SEED: 2 stored, 0 there already, 0 left out so far",
    ]


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_folder_that_is_none(storage: Storage, folder: Path, name: str) -> None:
    (folder / "file").touch()
    with pytest.raises(OSError, match=name):
        seeded(storage, folder / name)


def test_which_store_a_text_means() -> None:
    store = StoreName("p", "l", "d", "s")
    assert Seed.parse("folder") == Seed(Path("folder"))
    assert Seed.parse(f"{store}=a=b") == Seed(Path("a=b"), store)
    assert Seed.parse("name=folder") == Seed(Path("name=folder"))
