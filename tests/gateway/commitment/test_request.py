"""Requests for storage commitment, right and wrong, and at random."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.dsutils import encode

from orthanc_gcp.gateway.commitment.request import RequestError, read_request
from tests.gateway.commitment.modality import information


def encoded(dataset, *, implicit=True):
    content = encode(dataset, implicit, True)
    assert content is not None
    return content


@pytest.mark.parametrize("implicit", [True, False])
def test_a_request(implicit):
    content = encoded(information("9.1", "1.3", "1.4", "1.3"), implicit=implicit)
    found = read_request(content, implicit)
    assert found.transaction_uid == "9.1"
    assert [one.sop_instance_uid for one in found.references] == ["1.3", "1.4"]


def without(*path):
    dataset = information("9.1", "1.3")
    place = dataset.ReferencedSOPSequence[0] if len(path) > 1 else dataset
    delattr(place, path[-1])
    return dataset


@pytest.mark.parametrize(
    ("dataset", "status"),
    [
        (without("TransactionUID"), 0x0114),
        (without("ReferencedSOPSequence"), 0x0114),
        (without(0, "ReferencedSOPClassUID"), 0x0114),
        (without(0, "ReferencedSOPInstanceUID"), 0x0114),
        (information("9.1"), 0x0114),
        (information("", "1.3"), 0x0115),
        (information("9.1", "1.3\\1.4"), 0x0115),
        (information("9.1", "1" * 65), 0x0115),
        (information("9.1", "1,2"), 0x0115),
    ],
)
def test_what_is_wrong(dataset, status):
    with pytest.raises(RequestError) as raised:
        read_request(encoded(dataset), is_implicit=True)
    assert raised.value.status == status
    assert len(str(raised.value)) <= 64, "it fits into Error Comment"


WHOLE = encoded(information("9.1", "1.3", "1.4"))


@settings(max_examples=100)
@given(place=st.integers(0, len(WHOLE) - 1), change=st.binary(max_size=6), cut=st.integers(0, 20))
def test_changed_bytes(place, change, cut):
    content = WHOLE[:place] + change + WHOLE[place + cut :]
    try:
        found = read_request(content, is_implicit=True)
    except RequestError:
        return
    assert found.references
