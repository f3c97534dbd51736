"""Attributes of a store against those that are asked for."""

from __future__ import annotations

import pytest

from orthanc_gcp.configuration import ReceiveRule
from orthanc_gcp.retrieval.receive.filtering import text_of, wanted_by


def rule(**tags):
    return ReceiveRule(account="a", subscription="s", tags=tags)


def test_without_tags_everything_is_wanted():
    assert wanted_by([]) is None
    assert wanted_by([rule(), rule(Modality="SR")]) is None, "one of them wants all"


def test_one_of_several_is_enough():
    wants = wanted_by([rule(Modality="SR"), rule(InstitutionName="North*", Modality="*")])
    assert wants({"00080060": {"Value": ["SR"]}})
    assert wants({"00080060": {"Value": ["CT"]}, "00080080": {"Value": ["Northern"]}})
    assert not wants({"00080060": {"Value": ["CT"]}})
    assert not wants({})


@pytest.mark.parametrize(
    ("element", "text"),
    [
        ({"Value": ["ORIGINAL", "PRIMARY"]}, "ORIGINAL\\PRIMARY"),
        ({"Value": [{"Alphabetic": "Doe^Jane"}]}, "Doe^Jane"),
        ({"Value": [{"Ideographic": "x"}]}, ""),
        ({"Value": [{"00080100": {"Value": ["x"]}}]}, ""),
        ({"Value": [3, 2.5, None]}, "3\\2.5\\"),
        ({"Value": [["nested"]]}, ""),
        ({"Value": "no list"}, ""),
        ({"InlineBinary": "AAAA"}, ""),
        ({}, ""),
        (None, ""),
        ([], ""),
    ],
    ids=str,
)
def test_texts(element, text):
    assert text_of({"00080008": element}, "00080008") == text
