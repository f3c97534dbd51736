"""A match counts for the instance that it names by three UIDs, or for none."""

from __future__ import annotations

import pytest

from orthanc_gcp.dicomweb.search import (
    FoundInstance,
    estimated_size,
    found_instance,
    found_study,
)

STUDY, SERIES, INSTANCE, URL = "0020000D", "0020000E", "00080018", "00081190"


WHOLE = {STUDY: "1.2", SERIES: "1.2.3", INSTANCE: "1.2.3.4"}
BY_URL = "https://h/v1/dicomWeb/studies/study_1/series/a%20b/instances/x%2Fy"


def attributes(**more):
    return {tag: {"vr": "UI", "Value": [uid]} for tag, uid in (WHOLE | more).items()}


def test_by_its_attributes():
    assert found_instance(attributes()) == FoundInstance("1.2", "1.2.3", "1.2.3.4")
    padded = attributes(**{STUDY: "1.2\0", SERIES: "1.2.3 "})
    assert found_instance(padded) == FoundInstance("1.2", "1.2.3", "1.2.3.4")


@pytest.mark.parametrize("end", ["", "/"])
def test_by_its_retrieve_url(end):
    found = found_instance({URL: {"vr": "UR", "Value": [BY_URL + end]}})
    assert found == FoundInstance("study_1", "a b", "x/y")
    alone = {INSTANCE: {"Value": ["9"]}, URL: {"Value": [BY_URL.rpartition("/instances")[0]]}}
    assert found_instance(alone) == FoundInstance("study_1", "a b", "9")


def test_its_attributes_say_more_than_its_retrieve_url():
    both = attributes() | {URL: {"vr": "UR", "Value": [BY_URL]}}
    assert found_instance(both) == FoundInstance("1.2", "1.2.3", "1.2.3.4")


@pytest.mark.parametrize("tag", WHOLE)
@pytest.mark.parametrize(
    "element",
    [
        None,
        "1.2",
        [],
        {},
        {"Value": None},
        {"Value": "1.2"},
        {"Value": []},
        {"Value": [""]},
        {"Value": [1.2]},
        {"Value": [["1.2"]]},
        {"Value": ["1.2", "1.3"]},
        {"Value": [" \0"]},
    ],
    ids=repr,
)
def test_an_attribute_that_is_none(tag, element):
    assert found_instance(attributes() | {tag: element}) is None


@pytest.mark.parametrize("match", [None, 1, "1.2", [], {}, [attributes()]], ids=repr)
def test_what_is_no_match(match):
    assert found_instance(match) is None
    assert found_study(match) is None


def test_a_study():
    assert found_study(attributes()) == "1.2"
    by_url = {"vr": "UR", "Value": ["https://h/v1/dicomWeb/studies/a%20b/"]}
    assert found_study({URL: by_url}) == "a b"
    assert found_study(attributes(**{STUDY: "1.2\0"}) | {URL: by_url}) == "1.2"
    assert found_study({URL: {"vr": "UR", "Value": [BY_URL]}}) is None, "of an instance"


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ({}, 8192),
        ({"_00280010": 512, "_00280011": 512, "_00280100": 16}, 512 * 512 * 2 + 8192),
        ({"_00280010": 10, "_00280011": 10, "_00280008": "3"}, 300 + 8192),
        ({"_00280010": -5, "_00280011": "x"}, 8192),
        ({"_00280010": 1 << 30, "_00280011": 1 << 30, "_00280008": 1 << 30}, 1 << 40),
        ({"_00280010": float("inf"), "_00280011": None}, 8192),
    ],
    ids=str,
)
def test_a_size(attributes, size):
    match = {tag[1:]: {"Value": [value]} for tag, value in attributes.items()}
    assert estimated_size(match) == size


@pytest.mark.parametrize("element", [None, 3, [], {}, {"Value": 3}, {"Value": []}, {"Value": [[]]}])
def test_a_size_of_odd_elements(element):
    assert estimated_size({"00280010": element, "00280011": element, "00280008": element}) > 0
