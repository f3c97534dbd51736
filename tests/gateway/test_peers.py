"""Who may connect and ask."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orthanc_gcp.configuration import Globals, Modality
from orthanc_gcp.gateway.peers import Peers, Rejection, printable_aet

CT = Modality("CT", "192.0.2.1", 104)
ONLY_ECHO = Modality("ECHO", "192.0.2.2", 104, allow_find=False)


def peers(aets=("G",), **options):
    every = {"dicom_modalities": (CT, ONLY_ECHO), **options}
    return Peers(Globals(**every), {aet: aet.lower() for aet in aets})


@pytest.mark.parametrize(
    ("aets", "called", "options", "account"),
    [
        (("G",), "G", {}, "g"),
        (("G",), " g\0", {}, "g"),
        (("G",), "OTHER", {}, "g"),
        (("G",), "OTHER", {"dicom_check_called_aet": True}, None),
        (("G",), "g", {"dicom_check_called_aet": True, "strict_aet_comparison": True}, None),
        (("G", "H"), "H", {}, "h"),
        (("G", "H"), "OTHER", {}, None),
    ],
)
def test_the_account(aets, called, options, account):
    assert peers(aets, **options).account(called) == account


@pytest.mark.parametrize(
    ("calling", "address", "options", "echo", "find"),
    [
        ("CT", "192.0.2.9", {}, True, True),
        ("ct ", "192.0.2.9", {}, True, True),
        ("ct", "192.0.2.9", {"strict_aet_comparison": True}, True, False),
        ("CT", "192.0.2.9", {"dicom_check_modality_host": True}, True, False),
        ("CT", "192.0.2.1", {"dicom_check_modality_host": True}, True, True),
        ("CT", "::ffff:192.0.2.1", {"dicom_check_modality_host": True}, True, True),
        ("ECHO", "192.0.2.2", {"dicom_always_allow_echo": False}, True, False),
        ("OTHER", "192.0.2.1", {}, True, False),
        ("OTHER", "192.0.2.1", {"dicom_always_allow_echo": False}, False, False),
        ("OTHER", "192.0.2.1", {"dicom_always_allow_find": True}, True, True),
    ],
)
def test_what_a_peer_may(calling, address, options, echo, find):
    found = peers(**options)
    assert (found.may_echo(calling, address), found.may_find(calling, address)) == (echo, find)


def test_who_may_store():
    options = {"dicom_modalities": (CT, replace(ONLY_ECHO, allow_store=False))}
    assert peers(**options).may_store("OTHER", "192.0.2.9")
    options["dicom_always_allow_store"] = False
    assert peers(**options).may_store("CT", "192.0.2.9")
    assert not peers(**options).may_store("ECHO", "192.0.2.2")
    assert not peers(**options).may_store("OTHER", "192.0.2.2")


def test_whom_a_commitment_is_reported_to():
    twin, silent = replace(CT, host="192.0.2.5"), replace(CT, allow_storage_commitment=False)
    assert peers(dicom_modalities=(CT, twin)).commitment_modality("CT", "192.0.2.5") == twin
    assert peers(dicom_modalities=(CT, twin)).commitment_modality("CT ", "192.0.2.9") == CT
    assert peers(dicom_modalities=(silent, twin)).commitment_modality("CT", "192.0.2.1") == twin
    assert peers(dicom_modalities=(silent,)).commitment_modality("CT", "192.0.2.1") is None
    assert peers().commitment_modality("OTHER", "192.0.2.1") is None
    checked = peers(dicom_check_modality_host=True)
    assert checked.commitment_modality("CT", "192.0.2.9") is None


@pytest.mark.parametrize(
    ("calling", "options", "move", "get"),
    [
        ("CT", {}, True, True),
        ("MOVE", {}, True, False),
        ("OTHER", {}, False, False),
        ("OTHER", {"dicom_always_allow_move": True}, True, False),
        ("OTHER", {"dicom_always_allow_get": True}, False, True),
    ],
)
def test_who_may_retrieve(calling, options, move, get):
    only_move = Modality("MOVE", "192.0.2.3", 104, allow_get=False)
    found = peers(dicom_modalities=(CT, only_move), **options)
    assert (found.may_move(calling, "h"), found.may_get(calling, "h")) == (move, get)


def test_a_destination():
    assert peers().modality("ct \0") is CT
    assert peers().modality("OTHER") is peers().modality("") is None
    assert peers(strict_aet_comparison=True).modality("ct") is None


def test_rejections():
    nobody = {"dicom_always_allow_echo": False, "dicom_always_allow_store": False}
    closed = peers(**nobody, dicom_check_called_aet=True)
    assert closed.rejection("H", "CT", "192.0.2.1") is Rejection.CALLED_AET
    assert closed.rejection("G", "OTHER", "192.0.2.1") is Rejection.CALLING_AET
    assert closed.rejection("G", "CT", "192.0.2.1") is None
    assert peers().rejection("G", "OTHER", "192.0.2.1") is None
    for always in ("find", "get", "move"):
        options = {"dicom_always_allow_echo": False, f"dicom_always_allow_{always}": True}
        assert peers(**options).rejection("G", "OTHER", "192.0.2.1") is None


def test_an_aet_in_a_log():
    assert printable_aet("CT\n\x1b[31m  ") == "CT??[31m"
    assert printable_aet(" ") == "-"
