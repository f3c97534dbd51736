"""``orthanc-gcp retrieve``, by the worker behind Orthanc's routes or by the ledger itself."""

from __future__ import annotations

import json

import pytest

from orthanc_gcp.ledger.schema import RetrievedState
from tests.commands.conftest import site
from tests.orthanc.orthanc_stub import stub
from tests.support.site import make_study
from tests.support.studies import read, run, run_json, store
from tests.support.terminal import invoke

__all__ = ["site"]

ENDED = {
    "Id": 1,
    "Study": "1.2",
    "Series": None,
    "Instance": None,
    "Bytes": False,
    "Cause": "request",
    "State": "complete",
    "Instances": 0,
    "ReceivedBytes": 0,
    **{state.capitalize(): 0 for state in RetrievedState},
    "Requested": "2026-01-01T00:00:00+00:00",
    "Ended": "2026-01-01T00:01:00+00:00",
    "Reason": None,
    "Detail": None,
    "Lacking": [],
    "MoreLacking": 0,
}
"""A retrieval as the REST API shows it."""


def stored(site):
    """A study of two instances that only the store has."""
    files = make_study(1, 2, size=16)
    for file in files:
        store(site, file)
    first = next(read(files))[0]
    return str(first.StudyInstanceUID), str(first.SeriesInstanceUID)


def test_a_study_comes_back(site):
    study, series = stored(site)
    where = ("--orthanc", site.orthanc.url)
    said = run(site, "retrieve", "google", f"{study}/{series}", "--wait", *where)
    assert f"of {study}/{series}: complete, 2 of 2 instances in Orthanc, 2 of them brought" in said
    (again,) = run_json(site, "retrieve", "google", study, "--bytes", "--wait", *where)[
        "Retrievals"
    ]
    assert (again["State"], again["Present"]) == ("complete", 2)
    newest = run(site, "retrieve", "google", *where).splitlines()
    assert newest[0].startswith(f"retrieval {again['Id']} of {study}: complete")


def test_what_does_not_come_is_said(site):
    where = ("--orthanc", site.orthanc.url)
    said = run(site, "retrieve", "google", "1.2.3.4", "--wait", *where, code=1)
    assert "INCOMPLETE, 0 of 0 instances in Orthanc" in said
    assert "  not_listed: the store lists no such study, series or instance" in said


def test_what_is_not_complete_is_shown_however_old(site, monkeypatch):
    for name in "_PAGE", "_NEWEST":
        monkeypatch.setattr(f"orthanc_gcp.commands.retrieval.retrieve.{name}", 1)
    where = ("--orthanc", site.orthanc.url)
    there, _ = stored(site)
    for uid in "1.2.3.5", there, "1.2.3.6":
        run(site, "retrieve", "google", uid, "--wait", *where, code=int(uid != there))
    found = run_json(site, "retrieve", "google", "--wait", *where, code=1)["Retrievals"]
    assert [one["Study"] for one in found[:2]] == ["1.2.3.6", "1.2.3.5"]


def test_the_oldest_counts_too_behind_the_plugin(config):
    """Which gives them in pages."""

    def page(state, following):
        return {"Retrievals": [{**ENDED, "State": state}], "Next": following}

    path = "GET /gcp/accounts/my-google/retrievals?after="
    pages = {f"{path}0&limit=100": page("complete", "7")}
    pages[f"{path}7&limit=100"] = page("incomplete", "")
    with stub({"GET /gcp/accounts": [], **pages}) as server:
        where = ("--wait", "--json", "--orthanc", server.url)
        done = invoke("retrieve", config, "my-google", *where, code=1)
    states = [one["State"] for one in json.loads(done.output)["Retrievals"]]
    assert states == ["complete", "incomplete"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nobody", "1.2"], "there is no account nobody"),
        (["google", "1/2/3/4"], "expected STUDY, STUDY/SERIES or STUDY/SERIES/INSTANCE"),
        (["google", "1//3"], "expected STUDY, STUDY/SERIES or STUDY/SERIES/INSTANCE"),
        (["google", ".."], "its Study Instance UID '..' is a dot-segment"),
    ],
)
def test_what_cannot_be_retrieved(site, arguments, words):
    done = invoke("retrieve", site.orthanc.configuration_file, *arguments, code=2)
    assert done.stderr.startswith(words)


def test_an_orthanc_that_is_away_is_one_line(site):
    where = ("--orthanc", "http://127.0.0.1:9/")
    said = run(site, "retrieve", "google", "1.2", *where, code=2)
    assert len(said.splitlines()) == 1
    assert json.dumps("does not answer")[1:-1] in said
