"""Resource names: read, written, and those that are none."""

from __future__ import annotations

import pytest

from orthanc_gcp.emulator.resource_names import STORE_ID, DatasetName, LocationName, StoreName

STORE = "projects/p/locations/l/datasets/d/dicomStores/s"


@pytest.mark.parametrize(
    "text", [STORE, "projects/example.org:p/locations/l/datasets/ä_1/dicomStores/s.-" + "x" * 250]
)
def test_reading_is_the_inverse_of_writing(text: str) -> None:
    assert str(StoreName.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "projects/p/locations/l/datasets/d",
        f"/{STORE}",
        f"{STORE}/",
        f"{STORE}:import",
        f"{STORE}/dicomWeb",
        STORE + "x" * 256,
        STORE.replace("/d/", "/a b/"),
        STORE.replace("/p/", "//"),
        *(STORE.replace(f"/{part}/", f"/{odd}/") for part in "pld" for odd in ("..", ".", "a\nb")),
        *(f"{STORE[:-1]}{odd}" for odd in ("..", ".", "s\n", "\x1b", "s\r")),
    ],
)
def test_what_is_no_name_of_a_store(text: str) -> None:
    with pytest.raises(ValueError, match="is not the name of a DICOM store: expected projects/"):
        StoreName.parse(text)


def test_parents_and_children() -> None:
    store = StoreName.parse(STORE)
    dataset, location = store.parent, store.parent.parent
    assert (dataset, location) == (DatasetName("p", "l", "d"), LocationName("p", "l"))
    assert location.dataset("d").store("s") == store
    names = (str(dataset), str(location), str(location.parent))
    assert names == ("projects/p/locations/l/datasets/d", "projects/p/locations/l", "projects/p")


def test_ids() -> None:
    for right in ("Ä-1_.x", "...", "a..", ".a", "..a"):
        assert STORE_ID.fullmatch(right)
    for wrong in ("", ".", "..", "..\n", "a/b", "a b", "a:b", "x" * 257):
        assert not STORE_ID.fullmatch(wrong)
