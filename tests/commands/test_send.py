"""What is sent on demand, and what a dry run says of the rules."""

from __future__ import annotations

import json

import pytest

from orthanc_gcp.commands.formatting import count
from orthanc_gcp.orthanc.resources import OrthancSource
from tests.support.studies import (
    SECOND,
    Study,
    run,
)


def test_send_on_demand(site):
    study = Study(site, modality="CT")  # which no rule wants
    parent = site.orthanc.json("GET", f"/instances/{study.resources[0]}/study")["ID"]
    said = run(site, "send", parent, "--to", SECOND, "--orthanc", site.orthanc.url)
    assert said == "queued for second: 4 instances\n"
    study.confirmed()
    assert {row.account for row in study.rows()} == {SECOND}
    assert {row.priority for row in study.rows()} == {1}


def test_what_is_deleted_before_it_is_queued_is_told(site, monkeypatch):
    """Otherwise 0 of 0 would be confirmed, which is all."""
    study = Study(site, modality="CT")
    describe = OrthancSource.describe

    def deleted_meanwhile(source, resources, *since):
        site.orthanc.request("DELETE", f"/instances/{study.resources[0]}")
        return describe(source, resources, *since)

    monkeypatch.setattr(OrthancSource, "describe", deleted_meanwhile)
    at = ("--to", SECOND, "--wait", "--orthanc", site.orthanc.url)
    said = run(site, "send", *study.resources, *at, code=1)
    assert "left: 1 instance, which Orthanc does not have any more\n" in said
    assert said.endswith("3 of 3 instances confirmed\n")


def test_a_dry_run_tells_what_the_rules_would_do_and_does_nothing(site):
    study = Study(site, modality="CT")
    before = site.rows()
    said = run(site, "send", "--dry-run", "--orthanc", site.orthanc.url)
    kept = {one: site.orthanc.json("GET", f"/instances/{one}") for one in instances(site)}
    total = {modality: [] for modality in ("OT", "CT")}
    for one, described in kept.items():
        tags = site.orthanc.json("GET", f"/instances/{one}/simplified-tags")
        total[tags["Modality"]].append(described["FileSize"])
    google, secret, rest = (line for line in said.splitlines() if line.startswith("to "))
    assert google == _forecast("to google (Modalities OT)", total["OT"])
    assert secret == _forecast("to second (Modalities MR; Tags PatientName)", [])
    assert rest == _forecast("to nobody", total["CT"])
    assert "Secret" not in said
    some = run(site, "send", study.resources[0], "--dry-run", "--orthanc", site.orthanc.url)
    assert f"to nobody: 1 instance, {kept[study.resources[0]]['FileSize']:,} bytes" in some
    assert f"such as study {study.uid}" in some
    assert "Send[0], to google: not met are Modalities 1" in some
    assert "Send[1], to second: not met are Modalities 1" in some
    asked = ("--dry-run", "--to", SECOND, "--orthanc", site.orthanc.url)
    assert "to second (all): 1 instance, " in run(site, "send", study.resources[0], *asked)
    assert site.rows() == before


def configured(site, tmp_path, **section):
    """The site's configuration with other options of the section."""
    whole = json.loads(site.orthanc.configuration_file.read_text())
    whole["GoogleCloudPlatform"] |= section
    file = tmp_path / "orthanc.json"
    file.write_text(json.dumps(whole))
    return file


def dry_run(site, tmp_path, resource, *options, code=0, **section):
    file = configured(site, tmp_path, **section)
    at = ("--dry-run", *options, "--orthanc", site.orthanc.url)
    return run(site, "send", resource, *at, code=code, config=file)


def test_a_dry_run_tells_why_something_goes_nowhere(site, tmp_path):
    one = Study(site, modality="MR").resources[0]
    rules = [
        {"To": "google", "Modalities": ["CT"]},
        {"To": "google", "CalledAet": ["SOMEBODY"]},
        {"To": SECOND, "Modalities": ["M?"], "Tags": {"PatientID": "P", "(0010,0010)": "Secret*"}},
    ]
    said = dry_run(site, tmp_path, one, Send=rules)
    assert "  Send[0], to google: not met are Modalities 1\n" in said
    assert "  Send[1], to google: not met are CalledAet 1\n" in said
    assert "  Send[2], to second: not met are Tags.(0010,0010) 1\n" in said
    assert "Secret" not in said
    assert "Custody^Test" not in said
    said = dry_run(site, tmp_path, one, Send=[])
    assert 'there is no rule: "Send" of the configuration is empty' in said


@pytest.mark.parametrize(
    "section",
    [
        {"Send": [{"To": "google"}, {"To": SECOND, "Tags": {"patientid": "Secret"}}]},
        {"Send": [{"To": "nobody"}]},
        {"Send": {}},
        {"Send": [{"To": "google"}], "Sned": []},
    ],
)
def test_a_dry_run_foretells_nothing_of_rules_with_mistakes(site, tmp_path, section):
    one = instances(site)[0]
    said = dry_run(site, tmp_path, one, code=2, **section)
    assert said.startswith("GoogleCloudPlatform.S")
    assert "nothing is sent by it" in said
    assert "instance" not in said
    assert "Secret" not in said
    assert "to second (all): 1 instance" in dry_run(site, tmp_path, one, "--to", SECOND, **section)


def test_a_dry_run_tells_what_waits_for_a_mistake_to_be_corrected(site, tmp_path):
    one, rules = instances(site)[0], [{"To": "google"}]
    said = dry_run(site, tmp_path, one, BaseUrl="http://healthcare", Send=rules)
    assert "to google (all): 1 instance" in said
    assert "  waits until this is corrected: GoogleCloudPlatform.BaseUrl: found an address" in said
    said = dry_run(site, tmp_path, one, Database="hush", Send=rules)
    assert "nothing is sent until this is corrected: GoogleCloudPlatform.Database" in said
    assert "hush" not in said
    said = dry_run(site, tmp_path, one, "--to", "google", code=2, BaseUrl="x", Send=rules)
    assert said.startswith("GoogleCloudPlatform.BaseUrl: found")


def instances(site):
    return site.orthanc.json("GET", "/instances")


def _forecast(where, sizes):
    return f"{where}: {count(len(sizes), 'instance')}, {sum(sizes):,} bytes"


def test_send_wants_to_know_what_and_where(site):
    at = ("--orthanc", site.orthanc.url)
    assert "name resources" in run(site, "send", "--to", SECOND, *at, code=2)
    assert "name resources" in run(site, "send", "0-1", *at, code=2)
    unknown = "11111111-11111111-11111111-11111111-11111111"
    said = run(site, "send", unknown, "--to", SECOND, *at, code=2)
    assert f"Orthanc has no resource {unknown}" in said
    assert "not UIDs" in run(site, "send", "1.2.3", "--to", SECOND, *at, code=2)
    away = run(site, "send", unknown, "--to", SECOND, "--orthanc", "http://127.0.0.1:1", code=2)
    assert "does not answer" in away
