"""Every file that pydicom's wheel ships, through the emulator: stored, and retrieved in every way.

pydicom's own reading is the standard: of pixels, and of data sets that it takes with a warning.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.pixels import pixel_array
from pydicom.uid import generate_uid

from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.client import AS_STORED, MULTIPART, Client, path_of, read, split

FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"
FILES = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*") if path.is_file())
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
SYNTAXES = [
    f"1.2.840.10008.1.2{suffix}"
    for suffix in ("", ".1", ".1.99", ".4.50", ".4.90", ".4.91", ".5", ".8.1")
]
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("emulator")
    with Emulator(Options(folder, write_credentials=folder)) as emulator:
        client = Client(emulator.url, folder)
        yield client
        client.pool.clear()


def storable(name: str) -> bytes:
    """Return a file; with identifiers, and in the file format, when it is a data set without."""
    content = (FOLDER / name).read_bytes()
    try:
        dataset = pydicom.dcmread(io.BytesIO(content), force=name.endswith(".dcm"))
    except InvalidDicomError:
        return content
    missing = [keyword for keyword in UIDS if not dataset.get(keyword)]
    if not missing or "DirectoryRecordSequence" in dataset:
        return content
    for keyword in missing:
        setattr(dataset, keyword, generate_uid())
    if not dataset.file_meta.get("TransferSyntaxUID"):
        return content
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def pixels_of(dataset: Dataset) -> np.ndarray | None:
    try:
        return pixel_array(dataset)
    except Exception:
        return None


def frames_of(dataset: Dataset, pixels: np.ndarray) -> list[bytes]:
    count = int(dataset.get("NumberOfFrames") or 1)
    frames = pixels if count > 1 else [pixels]
    return [frame.astype(frame.dtype.newbyteorder("<")).tobytes() for frame in frames]


def is_sent_unpacked(dataset: Dataset) -> bool:
    """Return whether frames are sent as pydicom unpacks them: native ones are as they are."""
    is_native = not dataset.file_meta.TransferSyntaxUID.is_encapsulated
    is_packed = dataset.BitsAllocated == 1 or dataset.PhotometricInterpretation == "YBR_FULL_422"
    return not (is_native and (is_packed or dataset.get("PlanarConfiguration") == 1))


@pytest.mark.parametrize("name", FILES)
def test_a_file(store: Client, name: str) -> None:
    client = store.of_new_store()
    content = storable(name)
    stored = client.store(content)
    assert stored.status in (200, 409)
    if stored.status == 409:
        return
    dataset = read(content)
    path = path_of(dataset)
    pixels = pixels_of(dataset)
    assert client.get(f"{path}/metadata").status == 200
    assert [part for _, part in split(client.get(path, AS_STORED))] == [content]
    check_instance(client, path, pixels)
    check_frames(client, path, dataset, pixels)
    rendered = client.get(f"{path}/rendered")
    assert rendered.status == 200 if pixels is not None else rendered.status in (200, 400)


def check_instance(client: Client, path: str, pixels: np.ndarray | None) -> None:
    for wanted in SYNTAXES:
        response = client.get(path, f"{MULTIPART}; transfer-syntax={wanted}")
        assert response.status in (200, 400)
        if wanted in SYNTAXES[:3] and pixels is not None:
            ((_, part),) = split(response)
            assert np.array_equal(read(part).pixel_array, pixels)


def check_frames(client: Client, path: str, dataset: Dataset, pixels: Any) -> None:
    if pixels is None:
        assert client.get(f"{path}/frames/1").status in (200, 400)
        return
    frames = frames_of(dataset, pixels)
    got = split(client.get(f"{path}/frames/{','.join(map(str, range(1, len(frames) + 1)))}"))
    assert len(got) == len(frames)
    if is_sent_unpacked(dataset):
        assert [part for _, part in got] == frames


def test_most_files_are_images_that_are_decoded() -> None:
    """Or the tests above would test nothing."""
    files = [FOLDER / name for name in FILES if name.endswith(".dcm")]
    decoded = [pixels_of(pydicom.dcmread(file, force=True)) for file in files]
    assert sum(pixels is not None for pixels in decoded) > 50
