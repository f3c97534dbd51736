"""What a real Orthanc recycles, and what it says of it."""

from __future__ import annotations

import pytest

from orthanc_gcp.errors import OrthancRefusedError
from orthanc_gcp.orthanc.recycling import Recycling, StorageLimits
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.support.front import Front
from tests.support.orthanc import Orthanc
from tests.support.site import make_instance


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    options = {"MaximumPatientCount": 2}
    with Orthanc(tmp_path_factory.mktemp("orthanc"), options, plugins=()) as orthanc:
        yield orthanc


def upload(orthanc, patient):
    answer = orthanc.json("POST", "/instances", make_instance(patient=patient))
    return answer["ParentPatient"]


def test_a_protected_patient_stays(orthanc):
    recycling = Recycling(OrthancRest(orthanc.url))
    first = upload(orthanc, "A")
    assert recycling.is_protected(first) is False
    assert recycling.protect(first, protected=True)
    assert recycling.is_protected(first) is True
    assert recycling.size_bytes(first) > 4096
    others = [upload(orthanc, name) for name in ("B", "C")]
    assert [recycling.is_protected(one) for one in (first, *others)] == [True, None, False]
    assert recycling.size_bytes(others[0]) is None
    assert not recycling.protect(others[0], protected=True)
    assert recycling.protect(first, protected=False)
    assert recycling.is_protected(first) is False


def test_a_name_cannot_lead_elsewhere(orthanc):
    assert Recycling(OrthancRest(orthanc.url)).is_protected("../system?") is None


CONFIGURED = StorageLimits(3, 4, "Reject")


@pytest.mark.parametrize(
    ("system", "limits"),
    [
        (
            {"MaximumStorageSize": 5, "MaximumPatientCount": 7, "MaximumStorageMode": "Recycle"},
            StorageLimits(5, 7, "Recycle"),
        ),
        ({"MaximumStorageSize": "x", "MaximumPatientCount": 7}, StorageLimits(0, 7, "Reject")),
        (
            {"Version": "1.12.3", "MaximumStorageSize": 0, "MaximumStorageMode": "Recycle"},
            StorageLimits(0, 4, "Recycle"),
        ),
        ({"Version": "1.11.2"}, CONFIGURED),
        ({"Version": "1.11.1"}, StorageLimits(3, 4, "Recycle")),
        ({"Version": "mainline"}, CONFIGURED),
        ([], CONFIGURED),
    ],
)
def test_each_limit_that_a_version_does_not_say_is_as_configured(monkeypatch, system, limits):
    rest = OrthancRest("http://localhost:1/")
    monkeypatch.setattr(rest, "call", lambda *_: system)
    assert Recycling(rest).limits(CONFIGURED) == limits


def test_a_version_that_knows_no_modes_recycles(tmp_path):
    options = {"MaximumPatientCount": 1, "MaximumStorageMode": "Reject"}
    with Orthanc(tmp_path, options, plugins=()) as orthanc:
        statuses = [
            orthanc.request("POST", "/instances", make_instance(patient=name)).status
            for name in "AB"
        ]
        limits = Recycling(OrthancRest(orthanc.url)).limits(StorageLimits(0, 1, "Reject"))
    assert limits.recycles == (statuses == [200, 200])


def test_a_refusal_is_no_absence(monkeypatch):
    rest = OrthancRest("http://localhost:1/")

    def refuse(*_):
        raise OrthancRefusedError("no", status=403)

    monkeypatch.setattr(rest, "call", refuse)
    with pytest.raises(OrthancRefusedError):
        Recycling(rest).is_protected("p")


@pytest.mark.parametrize("status", [400, 404])
def test_what_a_proxy_hides_is_no_absence(orthanc, status):
    there = upload(orthanc, "hidden")
    with Front() as front:
        front.target, front.hides = orthanc.url, {"/patients/": status}
        recycling = Recycling(OrthancRest(front.url))
        for ask in (recycling.is_protected, recycling.size_bytes):
            with pytest.raises(OrthancRefusedError, match="of a patient that it has"):
                ask(there)
            assert ask("nobody") is None
        with pytest.raises(OrthancRefusedError):
            recycling.protect(there, protected=False)
        assert not recycling.protect("nobody", protected=False)
        front.shutdown()


@pytest.mark.parametrize(
    ("limits", "recycles"),
    [
        (StorageLimits(), False),
        (StorageLimits(1), True),
        (StorageLimits(0, 1), True),
        (StorageLimits(5, 5, "Reject"), False),
        (StorageLimits(5, 5, "recycle"), True),
    ],
)
def test_whether_it_recycles(limits, recycles):
    assert limits.recycles == recycles


def test_room():
    by_count = StorageLimits(patients=5)
    assert by_count.has_room(80, 4, 10**12)
    assert not by_count.has_room(80, 5, 0)
    assert not StorageLimits(patients=1).has_room(80, 1, 0), "it could receive nobody else"
    by_size = StorageLimits(mebibytes=10)
    assert by_size.has_room(50, 10**6, 5 * 1024 * 1024)
    assert not by_size.has_room(50, 1, 5 * 1024 * 1024 + 1)
    assert StorageLimits(10, 5).has_room(100, 5, 10 * 1024 * 1024)


def test_an_index_of_its_own(orthanc, tmp_path):
    source = OrthancSource(OrthancRest(orthanc.url), tmp_path)
    assert not source.may_share_its_index()
