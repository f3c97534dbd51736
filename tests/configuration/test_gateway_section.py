"""The section ``Gateway``: with a mistake in it, nobody is let in."""

from __future__ import annotations

import pytest

from orthanc_gcp.configuration import Modality, read
from tests.support.configurations import SERVICE


def settings(gateway, **orthanc):
    section = {"Accounts": {"a": SERVICE}, "Gateway": gateway}
    return read({"GoogleCloudPlatform": section, **orthanc})


def test_it_is_read():
    found = settings({"Aets": {"GOOGLE": "a"}, "Port": 104, "MaxAnswers": 9})
    assert found.problems == ()
    assert (found.gateway.aets, found.gateway.port) == ({"GOOGLE": "a"}, 104)
    assert found.gateway.max_answers == 9


@pytest.mark.parametrize(
    "gateway",
    [
        {},
        [],
        True,
        {"Aets": {}},
        {"Aets": {"G": "b"}},
        {"Aets": {"G": "a"}, "Prot": 104},
        {"Aets": {"G": "a"}, "Port": "104"},
        {"Aets": {"G": "a", "g ": "a"}},
        {"Aets": {"G": "a"}, "MaxAssociations": 0},
        {"Aets": {"G": "a"}, "AnswerForOrthanc": True, "StartWithOrthanc": False},
    ],
    ids=str,
)
def test_a_mistake(gateway):
    found = settings(gateway)
    assert found.gateway is None
    assert found.gateway_problems == found.problems
    assert all("the gateway does not start" in str(one) for one in found.problems)
    assert [account.name for account in found.accounts] == ["a"]


def test_without_it():
    assert read({"GoogleCloudPlatform": {"Accounts": {"a": SERVICE}}}).gateway is None


def test_modalities_of_orthanc():
    entries = {"a": ["CT ", "192.0.2.1", 104, "Generic"], "b": {"AET": "MR", "Host": "h"}}
    entries["b"] |= {"Port": "105", "AllowFind": False, "AllowMove": True, "UseDicomTls": True}
    assert settings({"Aets": {"G": "a"}}, DicomModalities=entries).orthanc.dicom_modalities == (
        Modality("CT", "192.0.2.1", 104),
        Modality("MR", "h", 105, allow_find=False, use_dicom_tls=True),
    )


def test_how_a_modality_is_connected_to():
    entry = {"AET": "MR", "Host": "h", "Port": 105, "AllowMove": False, "AllowGet": False}
    entry |= {"UseDicomTls": True, "LocalAet": "OWN ", "Timeout": 3}
    (found,) = settings(
        {"Aets": {"G": "a"}}, DicomModalities={"mr": entry}
    ).orthanc.dicom_modalities
    assert (found.allow_move, found.allow_get) == (False, False)
    assert (found.use_dicom_tls, found.local_aet, found.timeout) == (True, "OWN", 3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"UseDicomTls": 1},
        {"LocalAet": "A" * 17},
        {"LocalAet": None},
        {"Timeout": -1},
        {"Timeout": True},
        {"Timeout": 90_000},
        {"AllowMove": "yes"},
    ],
)
def test_a_modality_that_cannot_be_connected_to(wrong):
    entry = {"AET": "MR", "Host": "h", "Port": 105, **wrong}
    found = settings({"Aets": {"G": "a"}}, DicomModalities={"mr": entry})
    assert "DicomModalities" in str(found.gateway_problems[0])


def test_which_account_answers_for_orthanc():
    def of(**aets):
        section = {"Accounts": {"a": SERVICE, "b": SERVICE}}
        section["Gateway"] = {"Aets": aets, "AnswerForOrthanc": True}
        found = read({"GoogleCloudPlatform": section, "DicomAet": "PACS"})
        assert found.gateway.answer_for_orthanc
        return [one.error for one in found.problems if "PACS" in str(one)]

    assert of(X="a") == of(X="a", Y="b", pacs="b") == []
    assert of(X="a", Y="b") == [False]
