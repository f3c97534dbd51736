"""What the rules would send of a real Orthanc."""

from __future__ import annotations

import pytest

from orthanc_gcp.configuration import SendRule
from orthanc_gcp.custody.intake import dry_run as module
from orthanc_gcp.custody.intake.dry_run import (
    MOST_EXAMPLES,
    DryRun,
    RuleResult,
    Selected,
    conditions,
    dry_run,
)
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.support.orthanc import Orthanc
from tests.support.site import make_study


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """An Orthanc with two studies of CT, one of MR and four of US; sizes and UIDs by modality."""
    with Orthanc(tmp_path_factory.mktemp("orthanc"), {}, plugins=()) as orthanc:
        files = {
            modality: [make_study(instances=2, modality=modality) for _ in range(studies)]
            for modality, studies in (("CT", 2), ("MR", 1), ("US", 4))
        }
        identifiers = {
            modality: [
                orthanc.json("POST", "/instances", file)["ParentStudy"]
                for study in studies
                for file in study
            ]
            for modality, studies in files.items()
        }
        source = OrthancSource(OrthancRest(orthanc.url), orthanc.folder / "storage")
        yield source, files, identifiers


def total(files):
    return sum(len(file) for study in files for file in study)


def test_each_rule_and_the_rest(stored):
    source, files, _ = stored
    rules = [SendRule(to="a", modalities=("CT",)), SendRule(to="b", modalities=("C?", "MR"))]
    found = dry_run(source, rules)
    assert [result.rule for result in found.rules] == rules
    first, second = (result.selected for result in found.rules)
    assert (first.instances, first.bytes, len(first.studies)) == (4, total(files["CT"]), 2)
    assert (second.instances, second.bytes) == (6, total(files["CT"]) + total(files["MR"]))
    assert (found.unmatched.instances, found.unmatched.bytes) == (8, total(files["US"]))
    assert len(found.unmatched.studies) == MOST_EXAMPLES


def test_why_nobody_gets_the_rest(stored):
    source, _, _ = stored
    rules = [
        SendRule(to="a", modalities=("CT",)),
        SendRule(to="b", tags={"PatientID": "none", "Modality": "MR"}),
        SendRule(to="c", called_aet=("PACS",)),
    ]
    found = dry_run(source, rules)
    assert [result.missed for result in found.rules] == [
        {"Modalities": 10},
        {"Tags.PatientID": 10},
        {"CalledAet": 10},  # what came over REST was sent to no title
    ]
    assert found.unmatched.instances == 10


def test_of_some_resources_only(stored, monkeypatch):
    source, files, identifiers = stored
    monkeypatch.setattr(module, "_PORTION", 1)
    found = dry_run(source, [SendRule(to="a")], identifiers["MR"])
    (result,) = found.rules
    assert (result.selected.instances, result.selected.bytes) == (2, total(files["MR"]))
    assert found.unmatched == Selected()
    with pytest.raises(KeyError, match="unknown"):
        dry_run(source, [SendRule(to="a")], ["unknown"])


def test_without_a_rule_all_is_the_rest(stored):
    source, _, identifiers = stored
    found = dry_run(source, [], identifiers["MR"])
    assert isinstance(found, DryRun)
    assert found.rules == ()
    assert found.unmatched.instances == 2


def test_what_a_rule_asks_for_is_told_without_values():
    rule = SendRule(
        to="a",
        modalities=("CT", "MR"),
        called_aet=("PACS",),
        remote_aet=("MOD*",),
        tags={"PatientName": "Smith*"},
    )
    assert conditions(rule) == "Modalities CT, MR; CalledAet PACS; RemoteAet MOD*; Tags PatientName"
    assert conditions(SendRule(to="a")) == "all"
    assert RuleResult(rule, Selected(), {}).rule is rule
