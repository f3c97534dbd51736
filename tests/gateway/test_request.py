"""Identifiers of C-FIND, taken apart."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode

from orthanc_gcp.gateway.request import FindRequest, IdentifierError, Level, read_request


def identifier(level="STUDY", **attributes):
    dataset = Dataset()
    dataset.QueryRetrieveLevel = level
    for name, value in attributes.items():
        representation = dictionary_VR(name)
        dataset[name] = DataElement(
            tag_for_keyword(name), representation, value, validation_mode=config.IGNORE
        )
    return dataset


def implicit(*elements):
    """Bytes of elements, each a tag and a value."""
    return b"".join(
        struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value for tag, value in elements
    )


@pytest.mark.parametrize("is_implicit", [True, False])
def test_keys(is_implicit):
    item = Dataset()
    item.ScheduledProcedureStepID = "S1"
    item.RequestedProcedureID = ""
    wanted = identifier(
        "SERIES",
        SpecificCharacterSet="ISO_IR 100",
        PatientName="MÜL*",
        PatientID="",
        StudyDate="20260101-",
        StudyInstanceUID=["1.2", "1.3"],
        SeriesNumber="5",
        Modality="*",
        NumberOfSeriesRelatedInstances="9",
        RequestAttributesSequence=[item],
    )
    found = read_request(encode(wanted, is_implicit, True), is_implicit)
    assert found.level is Level.SERIES
    assert found.character_set == ("ISO_IR 100",)
    assert {key.name: key.value.strip("\0 ") for key in found.keys} == {
        "PatientName": "MÜL*",
        "StudyDate": "20260101-",
        "StudyInstanceUID": "1.2\\1.3",
        "SeriesNumber": "5",
        "RequestAttributesSequence.ScheduledProcedureStepID": "S1",
    }
    assert {"00100020", "00201209", "00080060"} <= found.wanted.keys()
    assert set(found.wanted["00400275"].items) == {"00400009", "00401001"}


@pytest.mark.parametrize(
    "wrong",
    [
        implicit(),
        implicit((0x00080052, b"")),
        implicit((0x00080052, b"NOTHING ")),
        implicit((0x00080020, b"yesterday "), (0x00080052, b"STUDY ")),
        implicit((0x00080030, b"noon"), (0x00080052, b"STUDY ")),
        implicit((0x00080052, b"STUDY "), (0x00200011, b"five")),
        implicit((0x00080005, b"NONSENSE"), (0x00080052, b"STUDY "), (0x00100010, b"M\xfcller")),
    ],
)
def test_what_cannot_be_answered(wrong):
    with pytest.raises(IdentifierError) as caught:
        read_request(wrong, True)
    assert len(str(caught.value)) <= 64
    assert not any(secret in str(caught.value) for secret in ("yesterday", "noon", "five"))


def test_levels_of_a_model():
    with pytest.raises(IdentifierError, match="STUDY, SERIES"):
        read_request(encode(identifier("PATIENT"), True, True), True, (Level.STUDY, Level.SERIES))


GOOD = encode(identifier(PatientName="A*", RequestAttributesSequence=[identifier()]), True, True)


@settings(max_examples=300)
@given(
    st.binary(max_size=200)
    | st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)).map(
        lambda change: GOOD[: change[0]] + bytes([change[1]]) + GOOD[change[0] + 1 :]
    ),
    st.booleans(),
)
@example(implicit((0x00080005, b"NONSENSE")) + GOOD, True)
@example(b"\xfe\xff\x00\xe0\xff\xff\xff\xff" * 2000, True)
def test_any_bytes(content, is_implicit):
    """An identifier, or none: nothing else comes of hostile bytes."""
    try:
        found = read_request(content, is_implicit)
    except IdentifierError:
        return
    assert isinstance(found, FindRequest)
