"""Which attributes searches know at which level."""

from __future__ import annotations

import pytest

from orthanc_gcp.emulator.dicom.search_attributes import (
    INSTANCE,
    SERIES,
    STUDY,
    can_be_returned,
    levels_to,
    name_of,
    resolve_tag,
    tags,
)


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("PatientName", 0x00100010),
        ("00100010", 0x00100010),
        ("0020000d", 0x0020000D),
        ("Modality", 0x00080060),
        ("00020010", 0x00020010),
        ("60003000", 0x60003000),
        ("60023000", 0x60023000),
        ("0010001F", None),
        ("Nonsense", None),
        ("nonsense", None),
        ("1234567", None),
        ("", None),
    ],
)
def test_attributes_by_keyword_or_tag(name: str, tag: int | None) -> None:
    assert resolve_tag(name) == tag


def test_a_level_comes_with_those_above() -> None:
    assert levels_to(STUDY) == (STUDY,)
    assert levels_to(INSTANCE) == (STUDY, SERIES, INSTANCE)


def test_every_keyword_of_the_levels_is_known() -> None:
    assert tags("PatientName Nonsense StudyDate") == (0x00100010, 0x00080020)
    assert (len(STUDY.defaults), len(STUDY.all)) == (13, 23)
    assert (len(SERIES.defaults), len(SERIES.all)) == (8, 4)
    assert (len(INSTANCE.defaults), len(INSTANCE.all)) == (10, 0)


def test_no_attribute_stands_twice_at_a_level() -> None:
    for level in (STUDY, SERIES, INSTANCE):
        assert len({*level.defaults, *level.all}) == len(level.defaults) + len(level.all)


def test_names_of_attributes() -> None:
    assert name_of(0x00080016) == "SOPClassUID"
    assert name_of(0x00091001) == "00091001"


def test_attributes_that_are_in_no_file() -> None:
    """Those of commands, directories, items, padding and queries."""
    known = tags("MessageID FileSetID Item DataSetTrailingPadding QueryRetrieveLevel")
    assert not any(map(can_be_returned, (*known, *tags("AvailableTransferSyntaxUID"))))
    assert len(known) == 5
    assert all(map(can_be_returned, tags("TransferSyntaxUID ModalitiesInStudy PixelData")))
