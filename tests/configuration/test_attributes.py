"""DICOM attributes that rules name, and patterns that can match."""

from __future__ import annotations

import pytest
from pydicom._dicom_dict import DicomDictionary

from orthanc_gcp.configuration.attributes import (
    Attribute,
    attribute,
    keywords,
    pattern_expected,
    tags_expected,
)


def test_numbers_in_all_spellings_are_the_same_attribute():
    spellings = ("InstitutionName", "0008,0080", "00080080", "(0008,0080)", "0008-0080")
    assert {attribute(name) for name in spellings} == {Attribute("0008,0080", "InstitutionName")}
    assert attribute("(7FE1,10AB)") == Attribute("7fe1,10ab")


def test_the_keywords_are_those_of_the_registry():
    """As pydicom has them; those of sequences, of binary values and of the header left out."""
    unseen = {"SQ", "OB", "OW", "OF", "OD", "OL", "OV", "UN", "OB or OW"}
    assert keywords() == {
        keyword: f"{tag >> 16:04x},{tag & 0xFFFF:04x}"
        for tag, (vr, _, _, _, keyword) in DicomDictionary.items()
        if keyword and tag >> 16 not in (0x0000, 0x0002, 0xFFFE) and vr not in unseen
    }


@pytest.mark.parametrize("name", ["", "Institution", "0002,0010", "fffe,e000", "0008,08", "(8)"])
def test_what_is_no_attribute_that_a_rule_can_see(name):
    assert attribute(name) is None


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"InstitutionName": "Hospital*"}, ""),
        ({"0008,0080": ""}, ""),
        ([], "an object of DICOM keywords and patterns"),
        ({"InstitutionName": 5}, "an object of DICOM keywords and patterns"),
        ({"InstitutionNam": "x"}, "in place of InstitutionNam; did you mean InstitutionName?"),
        ({"Doe^Jane": "x"}, "in place of name 1"),
        ({"InstitutionName": " x"}, "a pattern without blanks at its ends for InstitutionName"),
        ({"InstitutionName": "a\nb"}, "a pattern without blanks at its ends"),
    ],
)
def test_what_is_expected_in_place_of_tags(tags, expected):
    found = tags_expected(tags)
    assert found.endswith(expected) if not expected.startswith("a pattern") else expected in found
    assert "Jane" not in found


@pytest.mark.parametrize(
    ("representation", "patterns", "expected"),
    [
        ("CS", ["CT", "M?", "*"], ""),
        ("CS", ["ct"], "codes in capital letters"),
        ("CS", ["CT\\MR"], "codes in capital letters"),
        ("CS", ["A" * 16 + "*"], ""),
        ("CS", ["A" * 17], "at most 16 characters"),
        ("CS", ["CT "], "no blank at its ends"),
        ("AE", ["Any title"], ""),
        ("AE", ["a\\b"], "application entity titles"),
        ("AE", ["a\tb"], "application entity titles"),
    ],
)
def test_patterns_that_can_match_no_value(representation, patterns, expected):
    found = pattern_expected(representation, patterns)
    assert expected in found
    assert bool(found) == bool(expected)
