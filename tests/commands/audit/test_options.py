"""What a command line asks for, and the one that goes on."""

from __future__ import annotations

import shlex
from datetime import datetime
from pathlib import Path

import pytest

from orthanc_gcp.commands.audit.options import Options
from orthanc_gcp.ledger.selection import Selection

NOTHING = {
    "config": Path("/etc/orthanc"),
    "study": None,
    "since": None,
    "until": None,
    "account": None,
    "contents": False,
    "orthanc": None,
    "without_orthanc": False,
    "fix": False,
    "report": None,
    "resume": False,
    "as_json": False,
}


def options(**given):
    return Options(**{**NOTHING, **given})


def test_what_is_meant():
    some = options(
        account="a",
        since=datetime.fromisoformat("2026-01-31T18:00"),
        until=datetime.fromisoformat("2026-02-01"),
    )
    assert some.selection == Selection("a", since=1769882400.0, until=1769904000.0)
    assert some.meant == {
        "Study": None,
        "Account": "a",
        "Since": "2026-01-31T18:00:00",
        "Until": "2026-02-01T00:00:00",
        "Bytes": False,
        "WithoutOrthanc": False,
    }
    assert options().selection == Selection()


def test_another_way_of_working_is_the_same_audit():
    one = options(orthanc="http://h/", fix=True, as_json=True, report=Path("r"), resume=True)
    assert one.meant == options().meant


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, []),
        ({"study": "1 2"}, ["--study", "1 2"]),
        ({"since": datetime.fromisoformat("2026-01-31")}, ["--since", "2026-01-31T00:00:00"]),
        ({"report": Path("a b"), "contents": True}, ["--report", "a b", "--bytes"]),
        ({"orthanc": "http://h:1/", "fix": True}, ["--orthanc", "http://h:1/", "--fix"]),
        ({"orthanc": "http://me:hush@h:1/", "account": "a"}, ["--account", "a"]),
        ({"without_orthanc": True, "as_json": True}, ["--without-orthanc", "--json"]),
    ],
)
def test_what_goes_on(given, words):
    line = options(**given).to_resume
    assert shlex.split(line) == ["orthanc-gcp", "audit", "/etc/orthanc", *words, "--resume"]
