"""What a message says, whatever somebody has written into it."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orthanc_gcp.configuration import ReceiveRule
from orthanc_gcp.retrieval.receive.notification import Delivery, Unwanted, read_delivery

STORE = "projects/p/locations/l/datasets/d/dicomStores/s"
PLACE = "studies/1.2/series/1.3/instances/1.4"
PATH = f"{STORE}/dicomWeb/{PLACE}"
RULE = ReceiveRule(account="a", subscription="projects/p/subscriptions/s", modalities=("SR", "S*"))


def encoded(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def received(path: str | bytes = PATH, attempt=None, **attributes):
    message = {"data": encoded(path), "messageId": "7", "attributes": attributes}
    found = {"ackId": "ack", "message": message}
    return found if attempt is None else {**found, "deliveryAttempt": attempt}


def read(one):
    return read_delivery(one, STORE, RULE)


def test_a_notification():
    found = read(received(action="StoreInstances", modality="SR"))
    assert found == Delivery("ack", "7", 0, ("1.2", "1.3", "1.4"), None)
    assert read(received(attempt=3)).attempt == 3


@pytest.mark.parametrize(
    ("attributes", "unwanted"),
    [
        ({}, None),
        ({"action": "ImportDicomData", "modality": "SEG"}, None),
        ({"action": "SomethingNew"}, None),
        ({"action": ["DeleteInstances"], "modality": ["CT"]}, None),
        ({"modality": ""}, None),
        ({"modality": "CT"}, Unwanted.MODALITY),
        ({"action": "DeleteInstances", "modality": "SR"}, Unwanted.ACTION),
        ({"action": "SetBlobSettings"}, Unwanted.ACTION),
    ],
    ids=str,
)
def test_attributes(attributes, unwanted):
    assert read(received(**attributes)).unwanted is unwanted


@pytest.mark.parametrize(
    ("path", "unwanted"),
    [
        (PATH.replace("projects/p", "projects/other"), Unwanted.FOREIGN),
        (PATH.replace("dicomStores/s", "dicomStores/s2"), Unwanted.FOREIGN),
        (PATH.replace("dicomStores/s", "dicomStores/S"), Unwanted.FOREIGN),
        (f"projects/x/dicomWeb/{PLACE}", Unwanted.FOREIGN),
        (f"/{PATH}", Unwanted.MALFORMED),
        (f"https://evil.example/{PATH}", Unwanted.MALFORMED),
        (f"{PATH}/", Unwanted.MALFORMED),
        (f"{PATH}/frames/1", Unwanted.MALFORMED),
        (f"{PATH}?x", None),
        (f"{STORE}/dicomWeb/studies/1.2", Unwanted.MALFORMED),
        (f"{STORE}/dicomWeb/studies/1.2/series/1.3/instances/", Unwanted.MALFORMED),
        (f"{STORE}/dicomWeb/studies/1.2/series/../instances/1.4", Unwanted.MALFORMED),
        (f"{STORE}/dicomWeb/studies/1.2/series/./instances/1.4", Unwanted.MALFORMED),
        (f"{STORE}/dicomWeb/studies/a\\b/series/1.3/instances/1.4", Unwanted.MALFORMED),
        (f"{STORE}/dicomWeb/studies/1\0/series/1.3/instances/1.4", Unwanted.MALFORMED),
        (f"{STORE}/dicomWeb/dicomWeb/{PLACE}", Unwanted.MALFORMED),
        (STORE, Unwanted.MALFORMED),
        ("", Unwanted.MALFORMED),
        (b"\xff\xfe", Unwanted.MALFORMED),
        ("x" * 10_000, Unwanted.MALFORMED),
    ],
    ids=lambda value: str(value)[:60],
)
def test_paths(path, unwanted):
    assert read(received(path)).unwanted is unwanted


@pytest.mark.parametrize(
    "message",
    [None, [], {}, "x", {"data": None}, {"data": 1}, {"data": "%%%"}, {"data": ["x"]}],
    ids=str,
)
def test_what_is_no_message_can_be_acknowledged(message):
    assert read({"ackId": "ack", "message": message}) == Delivery(
        "ack", "", 0, None, Unwanted.MALFORMED
    )


@pytest.mark.parametrize("one", [None, [], "x", {}, {"ackId": 1}, {"ackId": ""}], ids=str)
def test_what_cannot_be_acknowledged(one):
    assert read(one) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.just(encoded(PATH)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["data", "attributes", "action", "modality", "messageId"]), inner
        )
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(["ackId", "message", "deliveryAttempt"]), JSON))
def test_whatever_it_is_it_is_read(one):
    found = read(one)
    if found is not None:
        assert found.ack_id == one["ackId"]
        assert found.uids in (None, ("1.2", "1.3", "1.4"))
        assert (found.uids is None) <= (found.unwanted is not None)


@pytest.mark.parametrize("attempt", [True, -1, "3", 1 << 40, 2.5])
def test_an_odd_count_counts_as_none(attempt):
    assert read(received(attempt=attempt)).attempt == 0


@pytest.mark.parametrize("name", [None, 7, "x" * 201, "a\nb"])
def test_an_odd_name_counts_as_none(name):
    one = received()
    one["message"]["messageId"] = name
    assert read(one).message_id == ""
