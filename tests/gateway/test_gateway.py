"""The gateway as a whole: who reaches it, and what stops it from starting."""

from __future__ import annotations

import pytest

from orthanc_gcp import configuration
from orthanc_gcp.clock import SystemClock
from orthanc_gcp.errors import ConfigurationError
from orthanc_gcp.gateway.gateway import Gateway
from tests.gateway.conftest import configured
from tests.gateway.scu import STUDY_ROOT, associate, find, keys, run

NOBODY = {"DicomAlwaysAllowEcho": False, "DicomAlwaysAllowStore": False}


def test_echoscu(start):
    code, said = run("echoscu", start().port)
    assert code == 0
    assert "Received Echo Response (Success)" in said


def test_who_may_echo_and_find(start):
    port = start().port
    association = associate(port, calling="STRANGER")
    assert association.send_c_echo().Status == 0
    ((status, _),) = association.send_c_find(keys("STUDY"), STUDY_ROOT)
    association.release()
    assert status.Status == 0x0124


@pytest.mark.parametrize(
    ("options", "called", "calling", "accepted"),
    [
        ({}, "ANYTHING", "STRANGER", True),
        ({"DicomCheckCalledAet": True}, "ANYTHING", "WORKSTATION", False),
        ({"DicomCheckCalledAet": True}, "google", "workstation", True),
        ({"DicomAlwaysAllowEcho": False}, "GOOGLE", "STRANGER", True),
        (NOBODY, "GOOGLE", "STRANGER", False),
        (NOBODY, "GOOGLE", "WORKSTATION", True),
    ],
)
def test_associations(start, options, called, calling, accepted):
    association = associate(start(**options).port, called, calling)
    assert (association.is_established, association.is_rejected) == (accepted, not accepted)
    if accepted:
        association.release()


def test_too_many_associations(start):
    port = start({"MaxAssociations": 2}).port
    first, second = associate(port), associate(port)
    assert first.is_established
    assert second.is_established
    third = associate(port)
    assert third.is_rejected
    assert third.acceptor.primitive.result_str == "Rejected Transient"
    first.release()
    second.release()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"Aets": {"G": "nobody"}}, "Aets.G"),
        ({"Port": "x"}, "Port"),
        (None, "GoogleCloudPlatform.Gateway: missing"),
    ],
)
def test_what_stops_it_from_starting(client, shared_folder, change, named):
    options = configured(client, shared_folder, change)
    if change is None:
        del options["GoogleCloudPlatform"]["Gateway"]
    with pytest.raises(ConfigurationError, match=named):
        Gateway(configuration.read(options), SystemClock())


def test_a_port_that_is_taken(start, client, shared_folder):
    port = start().port
    settings = configuration.read(configured(client, shared_folder, {"Port": port}))
    with pytest.raises(ConfigurationError, match=f"Port: {port} cannot be had"):
        Gateway(settings, SystemClock())


def test_it_stops_while_it_is_used(start):
    running = start()
    association = associate(running.port)
    assert association.is_established
    running.gateway.stop()
    running.thread.join(20)
    assert not running.thread.is_alive()
    association.join(20)
    assert not association.is_alive()


def test_a_store_that_is_empty(start):
    running = start()
    found, status = find(running.port, keys("STUDY"))
    assert (found, status.Status) == ([], 0)
