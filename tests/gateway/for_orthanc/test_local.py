"""Orthanc as a store."""

from __future__ import annotations

import pytest

from orthanc_gcp.errors import StoreError
from orthanc_gcp.gateway.for_orthanc.local import LocalStore
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.reasons import StoreReason
from tests.gateway.for_orthanc.conftest import LOCAL
from tests.support.orthanc import free_port


def test_searching_and_reading(local):
    store = LocalStore(local, "/series", ["00181030", "00280010", "00091010"])
    (one,) = store.search("/series", {"00100010": "OH", "fuzzymatching": "true"}, depth=2)
    assert one["00181030"] == {"vr": "LO", "Value": ["of Orthanc"]}
    assert one["0020000D"] == {"vr": "UI", "Value": ["1.2.1"]}
    assert store.held == {}

    (one,) = store.search("/instances", {"0020000D": "1.2.1"}, depth=3)
    ((uids, _),) = store.held.items()
    assert uids == ("1.2.1", "1.2.1.1", "1.2.1.1.1")
    with store.open(*uids) as pieces:
        assert b"".join(pieces) == LOCAL[0]
    with store.open(*uids, transfer_syntax="1.2.840.10008.1.2") as pieces:
        assert b"".join(pieces) != LOCAL[0]

    store.held[uids] = "0-0-0-0-0"
    with pytest.raises(StoreError) as caught, store.open(*uids):
        pass
    assert (caught.value.reason, caught.value.retryable) == (StoreReason.NOT_FOUND, False)


def test_an_orthanc_that_is_away():
    store = LocalStore(OrthancRest(f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(StoreError) as caught:
        list(store.search("/studies", {}, depth=1))
    assert caught.value.retryable
