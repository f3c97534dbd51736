"""Changes of attributes in files: they change, and nothing else."""

from __future__ import annotations

import io
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from orthanc_gcp.emulator.dicomweb import file_editing
from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.client import Client, make_dicom, path_of, read, sample
from tests.emulator.contents import LARGE
from tests.emulator.dicomweb.patches import NAME, beta, content_of, patch, stored


def test_only_what_changes_changes(client: Client) -> None:
    old = sample("CT_small.dcm")
    path = stored(client, old)
    assert patch(client, path, [NAME]).status == 200
    new = content_of(client, path)
    element = b"\x10\x00\x10\x00PN"
    before, after = old.index(element), new.index(element)
    length = int.from_bytes(old[before + 6 : before + 8], "little")
    assert new[after + 8 : after + 16] == b"New^Name"
    # Group lengths are retired, and left out.
    assert new[after + 16 :] == old[before + 8 + length :]
    assert pydicom.dcmread(io.BytesIO(new)).pixel_array.tolist() == read(old).pixel_array.tolist()


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_implicit.dcm",
        "MR_small_bigendian.dcm",
        "JPEG2000.dcm",
        "MR_small_RLE.dcm",
        "test-SR.dcm",
        "rtplan.dcm",
        "SC_rgb_small_odd_jpeg.dcm",
        "image_dfl.dcm",
    ],
)
def test_every_kind_of_file(client: Client, name: str) -> None:
    old = sample(name)
    path = stored(client, old)
    before = client.get(beta(client, f"{path}/metadata")).json()[0]
    added = {"op": "add", "path": "/00104000", "value": {"vr": "LT", "Value": ["a comment"]}}
    response = patch(client, path, [added])
    assert response.status == 200, response.data
    assert response.json() == [{**before, "00104000": added["value"]}]
    new, expected = read(content_of(client, path)), read(old)
    assert new.file_meta == expected.file_meta
    expected.PatientComments = "a comment"
    assert new == expected


def test_sequences_and_their_bulk_data(client: Client) -> None:
    old = read(make_dicom())
    item = Dataset()
    item.CodeValue = "a"
    item.add_new(0x00091001, "OB", b"\1\2\3\4" * 500)
    item.add_new(0x00090010, "LO", "PRIVATE")
    old.ConceptNameCodeSequence = Sequence([item, item])
    buffer = io.BytesIO()
    old.save_as(buffer, enforce_file_format=True)
    path = stored(client, buffer.getvalue())
    changes = [
        {"op": "replace", "path": "/0040A043/Value/1/00080100/Value/0", "value": "b"},
        {"op": "remove", "path": "/0040A043/Value/0"},
    ]
    assert patch(client, path, changes).status == 200
    (left,) = read(content_of(client, path)).ConceptNameCodeSequence
    assert left.CodeValue == "b"
    assert left[0x00091001].value == b"\1\2\3\4" * 500


@pytest.mark.parametrize(
    ("character_set", "after"),
    [("ISO_IR 100", "ISO_IR 192"), ("", "ISO_IR 192"), ("ISO_IR 192", "ISO_IR 192")],
)
def test_text_that_the_character_set_lacks(client: Client, character_set: str, after: str) -> None:
    more = {"SpecificCharacterSet": character_set} if character_set else {}
    kept = "Köln" if character_set else "Koeln"
    old = make_dicom(**more, InstitutionName=kept)
    path = stored(client, old)
    change = {**NAME, "value": {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}}
    assert patch(client, path, [change]).status == 200
    new = read(content_of(client, path))
    assert new.SpecificCharacterSet == after
    assert (new.InstitutionName, str(new.PatientName)) == (kept, "Yamada^Tarou=山田^太郎")


def test_plain_text_leaves_the_character_set_alone(client: Client) -> None:
    path = stored(client, make_dicom(SpecificCharacterSet="ISO_IR 100", InstitutionName="Köln"))
    assert patch(client, path, [NAME]).status == 200
    new = read(content_of(client, path))
    assert (new.SpecificCharacterSet, new.InstitutionName) == ("ISO_IR 100", "Köln")


def test_a_change_that_is_none(own_client: Client, tmp_path: Path) -> None:
    old = make_dicom(bytes(LARGE))
    path = stored(own_client, old)
    (file,) = (tmp_path / "data" / "files").iterdir()
    change = {"op": "replace", "path": "/00100020/Value/0", "value": "4711"}
    assert patch(own_client, path, [change]).status == 200
    assert patch(own_client, path, []).status == 200
    assert list((tmp_path / "data" / "files").iterdir()) == [file]


@pytest.mark.parametrize(
    "changes",
    [
        b"",
        b"{",
        b"[" * 100_000,
        {},
        [{"op": "nothing", "path": ""}],
        [{"op": "remove", "path": "/00080050"}],
        [{"op": "test", "path": "/00100020/Value/0", "value": "4712"}],
        [{"op": "replace", "path": "", "value": []}],
        [{"op": "replace", "path": "", "value": {}}],
        [{"op": "replace", "path": "/00080018/Value/0", "value": "1.2.3"}],
        [{"op": "replace", "path": "/0020000D/Value/0", "value": "1.2.3"}],
        [{"op": "remove", "path": "/0020000E"}],
        [{"op": "remove", "path": "/00080016"}],
        [{"op": "add", "path": "/00080005", "value": {"vr": "CS", "Value": ["ISO_IR 100"]}}],
        [{"op": "replace", "path": "/00020010/Value/0", "value": "1.2.840.10008.1.2"}],
        [{"op": "remove", "path": "/7FE00010"}],
        [{"op": "add", "path": "/PatientName", "value": {"vr": "PN"}}],
        [{"op": "add", "path": "/00100000", "value": {"vr": "UL", "Value": [1]}}],
        [{"op": "add", "path": "/00280010", "value": {"vr": "US", "Value": ["x"]}}],
        [{"op": "add", "path": "/00280010", "value": {"vr": "ZZ", "Value": ["x"]}}],
        [{"op": "add", "path": "/00280010", "value": "x"}],
        [{"op": "add", "path": "/00091001", "value": {"vr": "OB", "BulkDataURI": "http://x/y"}}],
    ],
)
def test_what_is_refused(client: Client, changes: Any) -> None:
    old = make_dicom()
    path = stored(client, old)
    response = patch(client, path, changes)
    assert response.status == 400, response.data
    assert response.json()["error"]["status"] == "INVALID_ARGUMENT"
    assert content_of(client, path) == old


def test_a_file_that_can_be_read_in_two_ways(client: Client) -> None:
    old = make_dicom(PatientComments="abcd")
    at = old.index(b"\x10\x00\x00\x40LT")
    # A length to one reader (no VR has digits), a VR to the other.
    odd = old[:at] + b"\x10\x00\x00\x40B1\0\0" + bytes(0x3142) + old[at + 12 :]
    assert client.store(odd).status == 200
    path = path_of(read(old))
    assert patch(client, path, [NAME]).status == 400
    assert content_of(client, path) == odd


@pytest.mark.parametrize(
    ("name", "limit", "status"),
    [("CT_small.dcm", 10_000, 200), ("CT_small.dcm", 1000, 400), ("image_dfl.dcm", 10_000, 400)],
)
def test_what_is_held_in_memory_is_bounded(
    client: Client, monkeypatch: pytest.MonkeyPatch, name: str, limit: int, status: int
) -> None:
    monkeypatch.setattr(file_editing, "MAX_HEAD", limit)
    assert patch(client, stored(client, sample(name)), [NAME]).status == status


def test_copies_of_bulk_data_are_bounded(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_editing, "MAX_HEAD", 10_000)
    path = stored(client, make_dicom(pixels=bytes(4000)))
    pixels = f"{client.web.replace('/v1/', '/v1beta1/')}{path}/bulkdata/7FE00010"
    value = {"vr": "OB", "BulkDataURI": pixels}
    added = [{"op": "add", "path": f"/0009100{n}", "value": value} for n in range(3)]
    assert patch(client, path, added).status == 400
    assert patch(client, path, added[:2]).status == 200


def test_memory_does_not_grow_with_the_pixels(tmp_path: Path, identities: Path) -> None:
    shutil.copy(identities, tmp_path)
    pixels = bytes(64 * 1024 * 1024)
    with Emulator(Options(tmp_path, write_credentials=tmp_path)) as emulator:
        client = Client(emulator.url, tmp_path)
        old = make_dicom(pixels=pixels)
        path = stored(client, old)
        tracemalloc.start()
        assert patch(client, path, [NAME]).status == 200
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < len(pixels) // 4
        assert read(content_of(client, path)).PixelData == pixels
        client.pool.clear()
