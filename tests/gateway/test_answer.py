"""A match as a response has it, whatever a store says."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode

from orthanc_gcp.gateway.answer import made_answer
from orthanc_gcp.gateway.request import FindRequest, Level, Wanted

KINDS = {
    "00100010": "PN",
    "00081030": "LO",
    "00080020": "DA",
    "00200013": "IS",
    "00181050": "DS",
    "00280010": "US",
    "00280106": "SS",
    "00280009": "AT",
    "00720072": "FD",
    "0020000D": "UI",
    "00104000": "LT",
    "7FE00010": "OW",
}
WANTED = {tag: Wanted(kind) for tag, kind in KINDS.items()}


def answer(match, wanted=None, **more):
    request = FindRequest(Level.STUDY, (), WANTED if wanted is None else wanted, ())
    return made_answer(match, request, "GOOGLE", more)


def test_values():
    found = answer(
        {
            "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B", "Phonetic": "C"}]},
            "00181050": {"vr": "DS", "Value": [0.5, "1.25"]},
            "00280010": {"vr": "US", "Value": [512]},
            "00280009": {"vr": "AT", "Value": ["00181063"]},
            "00104000": {"vr": "LT", "Value": ["a\\b"]},
        }
    )
    assert str(found.PatientName) == "A^B==C"
    assert list(found.SliceThickness if "SliceThickness" in found else found[0x00181050].value)
    assert (found.Rows, found.FrameIncrementPointer) == (512, 0x00181063)
    assert found.PatientComments == "a\\b"
    assert found.StudyDate in ("", None)
    assert 0x7FE00010 not in found


def test_items():
    item = {"00080100": {"vr": "SH", "Value": ["X"]}, "00080104": {"vr": "LO", "Value": ["Y"]}}
    match = {"00081032": {"vr": "SQ", "Value": [item, "no item"]}}
    (whole,) = answer(match, {"00081032": Wanted("SQ")}).ProcedureCodeSequence
    assert (whole.CodeValue, whole.CodeMeaning) == ("X", "Y")
    (part,) = answer(
        match, {"00081032": Wanted("SQ", {"00080100": Wanted("SH")})}
    ).ProcedureCodeSequence
    assert [one.keyword for one in part] == ["CodeValue"]


@pytest.mark.parametrize(
    "value",
    [65536, -1, "five", 1e400, float("nan"), {"Alphabetic": 5}, [[1]], True, "ü", "\ud800", "a\\b"],
    ids=repr,
)
def test_a_value_that_cannot_be_written_is_left_out(value):
    found = answer({tag: {"vr": kind, "Value": [value]} for tag, kind in KINDS.items()})
    assert encode(found, True, True) is not None
    assert encode(found, False, True) is not None


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = st.recursive(
    SCALARS, lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(max_size=8), one)
)


@given(
    st.dictionaries(
        st.sampled_from(sorted(KINDS)),
        JSON | st.fixed_dictionaries({"vr": st.text(max_size=2), "Value": JSON | st.lists(JSON)}),
    )
)
@example({tag: {"vr": "", "Value": [None, None]} for tag in KINDS})
def test_any_json(match):
    """Whatever a store says, it can be sent."""
    found = answer(match)
    assert isinstance(found, Dataset)
    assert encode(found, True, True) is not None
