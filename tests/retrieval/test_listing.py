"""What a store lists, as far as it was asked for."""

from __future__ import annotations

import pytest

from orthanc_gcp.ledger.retrievals.rows import Resource
from orthanc_gcp.retrieval.listing import estimated_size, listed


class Store:
    def __init__(self, *matches):
        self.matches, self.asked = matches, []

    def search(self, path, parameters, *, depth):
        self.asked.append((path, dict(parameters), depth))
        return iter(self.matches)


def match(*uids, **more):
    tags = ("0020000D", "0020000E", "00080018")
    named = {tag: {"Value": [uid]} for tag, uid in zip(tags, uids, strict=True)}
    return {**named, **{tag[1:]: {"Value": [value]} for tag, value in more.items()}}


def test_what_was_not_asked_for_is_left_out():
    store = Store(match("1", "2", "3"), match("1", "9", "4"), match("9", "2", "5"))
    assert [one.uids for one in listed(store, Resource("1", "2"))] == [("1", "2", "3")]
    (path, asked, depth) = store.asked[0]
    assert (path, asked["0020000D"], asked["0020000E"], depth) == ("/instances", "1", "2", 3)
    assert "00080018" not in asked
    assert len(list(listed(store, Resource("1")))) == 2


def test_a_uid_that_cannot_be_asked_for():
    (one,) = listed(Store(match("1", "2", "a/b")), Resource("1"))
    assert "has a slash" in one.fault


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
    assert estimated_size(match("1", "2", "3", **attributes)) == size


@pytest.mark.parametrize("element", [None, 3, [], {}, {"Value": 3}, {"Value": []}, {"Value": [[]]}])
def test_odd_elements(element):
    assert estimated_size({"00280010": element, "00280011": element, "00280008": element}) > 0
