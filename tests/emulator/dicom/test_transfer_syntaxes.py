"""Which transfer syntaxes can be had of which."""

from __future__ import annotations

import pytest
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from orthanc_gcp.emulator.dicom.reader import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from orthanc_gcp.emulator.dicom.transfer_syntaxes import (
    AS_STORED,
    DECODABLE,
    DEFAULT,
    DEFLATED_FRAMES,
    ENCODABLE,
    FRAME_TYPES,
    JPEG,
    JPEG_2000,
    RLE,
    can_convert,
    can_decode,
)

MPEG_2 = "1.2.840.10008.1.2.4.100"


def test_there_is_a_codec_for_whatever_can_be_decoded() -> None:
    by_pydicom = DECODABLE - {DEFLATED_FRAMES}
    assert all(get_decoder(UID(syntax)).is_available for syntax in by_pydicom)


@pytest.mark.parametrize(
    ("stored", "wanted", "can_be_had"),
    [
        ({EXPLICIT_LITTLE}, AS_STORED, True),
        ({EXPLICIT_BIG, JPEG_2000}, DEFAULT, True),
        ({JPEG_2000}, JPEG_2000, True),
        ({EXPLICIT_LITTLE}, JPEG_2000, True),
        ({IMPLICIT_LITTLE}, RLE, True),
        ({JPEG_2000}, EXPLICIT_BIG, False),
        ({EXPLICIT_BIG}, EXPLICIT_BIG, True),
        ({MPEG_2}, DEFAULT, False),
        ({MPEG_2}, AS_STORED, True),
        ({EXPLICIT_LITTLE, MPEG_2}, MPEG_2, False),
    ],
)
def test_what_can_be_had_of_what(stored: set[str], wanted: str, can_be_had: bool) -> None:
    assert can_convert(stored, wanted) is can_be_had


def test_frames_have_the_media_types_of_the_conformance_statement() -> None:
    assert FRAME_TYPES[JPEG] == "image/jpeg"
    assert FRAME_TYPES[JPEG_2000] == "image/jp2"
    assert set(ENCODABLE) <= FRAME_TYPES.keys() & DECODABLE
    assert not can_decode(MPEG_2)
