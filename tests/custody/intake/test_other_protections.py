"""Patients that stay protected, and that no ledger knows: a real Orthanc."""

from __future__ import annotations

import pytest

from orthanc_gcp.custody.intake.other_protections import other_protections, unprotect
from orthanc_gcp.custody.intake.patients import Patients
from orthanc_gcp.orthanc.recycling import Recycling
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.support.orthanc import Orthanc
from tests.support.site import make_instance

INDEX = "o"


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    with Orthanc(tmp_path_factory.mktemp("orthanc"), {}, plugins=()) as orthanc:
        yield orthanc


@pytest.fixture
def patients(orthanc):
    """Three patients that are protected, and one that is not."""
    files = [make_instance(patient=name) for name in "ABCD"]
    found = [orthanc.json("POST", "/instances", file)["ParentPatient"] for file in files]
    for one in found[:3]:
        orthanc.request("PUT", f"/patients/{one}/protected", b"1")
    return found


def test_what_the_ledger_knows_is_left_to_the_worker(ledger, orthanc, patients):
    recycling = Recycling(OrthancRest(orthanc.url))
    mine, first, second, _ = patients
    Patients(ledger).add(INDEX, {mine: ["1.2"]}, {})
    assert set(other_protections(ledger, recycling, INDEX)) == {first, second}
    assert unprotect(ledger, recycling, INDEX, [mine, first, "nobody"]) == 1
    assert list(other_protections(ledger, recycling, INDEX)) == [second]
    assert recycling.is_protected(mine)
    assert set(other_protections(ledger, recycling, "another index")) == {mine, second}


def test_one_that_the_worker_has_just_counted_on_stays_protected(
    ledger, orthanc, patients, monkeypatch
):
    recycling, known = Recycling(OrthancRest(orthanc.url)), Patients(ledger)
    protect = recycling.protect

    def slowly(patient: str, *, protected: bool) -> bool:
        known.add(INDEX, {patient: ["1.2"]}, {})
        return protect(patient, protected=protected)

    monkeypatch.setattr(recycling, "protect", slowly)
    assert unprotect(ledger, recycling, INDEX, patients[:1]) == 0
    assert recycling.is_protected(patients[0])
