"""What readers see of an instance that is replaced, or deleted, when they are about to open it."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
import urllib3
from pydicom.uid import RLELossless, generate_uid

from orthanc_gcp.emulator.storage.storage import Storage
from tests.emulator.client import AS_STORED, Client, make_dicom, path_of, read, split
from tests.emulator.contents import LARGE
from tests.emulator.dicomweb.test_wado import RESOURCES
from tests.emulator.images import GRADIENT, image

ROW = 1
SEARCHES = ["/studies", "/series", "/instances", "/studies/{0}/instances"]


def before_the_next_opening(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Storage], None]
) -> None:
    """Let something happen once, between the search for an instance and its reading."""
    original, changes = Storage.open, [change]

    def open_later(storage: Storage, file: str) -> int:
        while changes:
            changes.pop()(storage)
        return original(storage, file)

    monkeypatch.setattr(Storage, "open", open_later)


def replacing(content: bytes) -> Callable[[Storage], None]:
    def replace(storage: Storage) -> None:
        upload = storage.begin()
        upload.write(memoryview(content))
        storage.keep(ROW, upload.read_record(), upload, replace=True)

    return replace


def deleting(content: bytes) -> Callable[[Storage], None]:
    uids = read(content)
    names = (uids.StudyInstanceUID, uids.SeriesInstanceUID, uids.SOPInstanceUID)
    return lambda storage: storage.delete(storage.index.instances(ROW, *names))


def two_versions() -> tuple[bytes, bytes]:
    """Return an image, and another one under the same UIDs in another transfer syntax."""
    uids = {f"{name}InstanceUID": generate_uid() for name in ("Study", "Series", "SOP")}
    newer = read(image(GRADIENT + 1, PatientAge="040Y", **uids))
    newer.compress(RLELossless, generate_instance_uid=False)
    buffer = io.BytesIO()
    newer.save_as(buffer)
    return image(GRADIENT, PatientAge="039Y", **uids), buffer.getvalue()


def content_of(response: urllib3.BaseHTTPResponse) -> object:
    """Return the status and what does not differ between two equal answers."""
    is_multipart = "boundary=" in response.headers["content-type"]
    return response.status, split(response) if is_multipart else response.data


@pytest.mark.parametrize(
    "resource", [*RESOURCES, *(f"{path}?includefield=PatientAge" for path in SEARCHES)]
)
def test_readers_see_what_has_replaced_it(
    own_client: Client, monkeypatch: pytest.MonkeyPatch, resource: str
) -> None:
    old, new = two_versions()
    own_client.store(old)
    uids = read(old)
    names = (uids.StudyInstanceUID, uids.SeriesInstanceUID, uids.SOPInstanceUID)
    path = resource.format(*names)
    before_the_next_opening(monkeypatch, replacing(new))
    answer = own_client.get(path)
    assert content_of(answer) == content_of(own_client.get(path))
    assert own_client.get(path_of(uids), "application/dicom; transfer-syntax=*").data == new


@pytest.mark.parametrize("change", [replacing, deleting])
def test_the_others_of_a_study_are_there(
    own_client: Client,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[bytes], Callable[[Storage], None]],
) -> None:
    study = generate_uid()
    files = [make_dicom(bytes(size), StudyInstanceUID=study) for size in (2, LARGE, LARGE)]
    own_client.store(*files)
    newer = files[0][:-1] + b"\7"
    before_the_next_opening(monkeypatch, change(newer))
    found = {content for _, content in split(own_client.get(f"/studies/{study}", AS_STORED))}
    assert found == {*files[1:], *([newer] if change is replacing else [])}


def test_what_is_deleted_is_not_there(own_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    content = make_dicom()
    own_client.store(content)
    before_the_next_opening(monkeypatch, deleting(content))
    assert own_client.get(f"/studies/{read(content).StudyInstanceUID}").status == 403
