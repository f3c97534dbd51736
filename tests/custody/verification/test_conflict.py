"""What a real Orthanc and the store have under the same UIDs is compared."""

from __future__ import annotations

import hashlib

import pytest
from pydicom.datadict import DicomDictionary

from orthanc_gcp.custody.verification.conflict import differences
from orthanc_gcp.errors import OrthancGoneError, StoreError
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.support.orthanc import Orthanc
from tests.support.sent import changed, rows, send, series_of
from tests.support.site import make_instance


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    with Orthanc(tmp_path_factory.mktemp("orthanc"), {}, plugins=()) as orthanc:
        yield orthanc


@pytest.fixture
def compare(ledger, store, stow, orthanc, tmp_path):
    """What differs between two files, the one in Orthanc, the other in the store."""
    source = OrthancSource(OrthancRest(orthanc.url), tmp_path)

    def compare(ours, theirs=None):
        identifier = orthanc.json("POST", "/instances", ours)["ID"]
        send(ledger, [ours])
        if theirs is not None:
            stow(theirs)
        row = rows(ledger)[-1]
        with ledger.writing() as connection:
            connection.exec_driver_sql(
                f"UPDATE gcp_transfers SET orthanc_id = '{identifier}' WHERE id = {row.id}"
            )
        (transfer,) = ledger.confirmations.acknowledged("a", series_of(ours))
        return differences(store, source, transfer, hashlib.sha256(ours).hexdigest())

    return compare


def test_the_same_bytes_are_no_difference(compare):
    file = make_instance()
    assert compare(file, file) is None


def test_attributes_are_named_and_their_values_are_not(compare):
    ours = make_instance()
    theirs = changed(ours, PatientName="Needle^Secret", StudyDescription="needle")
    found = compare(ours, theirs)
    assert f"{len(theirs)} bytes with SHA-256 {hashlib.sha256(theirs).hexdigest()}" in found
    assert f"Orthanc has {len(ours)} with {hashlib.sha256(ours).hexdigest()}" in found
    assert found.endswith("different attributes: PatientName, StudyDescription")
    assert "eedle" not in found


def test_only_pixels_differ(compare):
    ours = make_instance()
    theirs = bytearray(ours)
    theirs[-1] ^= 1
    assert compare(ours, bytes(theirs)).endswith("only pixel data or private encoding")


def test_very_many_attributes_are_counted(compare):
    names = [
        keyword
        for tag, (vr, vm, _, retired, keyword) in DicomDictionary.items()
        if (vr, vm, retired) == ("LO", "1", "") and tag >> 16 in (0x0018, 0x0040)
    ][:30]
    ours = make_instance()
    found = compare(ours, changed(ours, **dict.fromkeys(names, "x")))
    assert found.endswith("and 10 more")


def test_one_of_them_cannot_be_read(ledger, compare, orthanc, store, stow, tmp_path):
    with pytest.raises(StoreError):
        compare(make_instance())
    file = make_instance()
    stow(changed(file, PatientID="other"))
    send(ledger, [file])
    (transfer,) = ledger.confirmations.acknowledged("a", series_of(file))
    source = OrthancSource(OrthancRest(orthanc.url), tmp_path)
    with pytest.raises(OrthancGoneError):  # it was never there
        differences(store, source, transfer, "")
