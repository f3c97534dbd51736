"""What a store lists, as far as it was asked for."""

from __future__ import annotations

from orthanc_gcp.ledger.retrievals.rows import Resource
from orthanc_gcp.retrieval.listing import listed


class Store:
    def __init__(self, *matches):
        self.matches, self.asked = matches, []

    def search(self, path, parameters, *, depth):
        self.asked.append((path, dict(parameters), depth))
        return iter(self.matches)


def match(*uids):
    tags = ("0020000D", "0020000E", "00080018")
    return {tag: {"Value": [uid]} for tag, uid in zip(tags, uids, strict=True)}


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
