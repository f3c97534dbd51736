"""What an audit prints: to people at a terminal, into a file, and to programs."""

from __future__ import annotations

import io
import json
import re
from contextlib import redirect_stderr
from functools import wraps

import pytest

from orthanc_gcp.commands.audit import output as module
from orthanc_gcp.commands.audit.output import SHOWN, Documents, Progress, Words
from orthanc_gcp.commands.live import progress as progress_line
from orthanc_gcp.custody.audit.findings import Category, Finding, StudyResult, Uids
from orthanc_gcp.custody.audit.totals import Totals


class Stream(io.StringIO):
    terminal = False

    def isatty(self):
        return self.terminal


@pytest.fixture
def stderr():
    return Stream()


def with_stderr(test):
    """Pytest has standard streams of its own until the test itself begins."""

    @wraps(test)
    def run(stderr, **fixtures):
        with redirect_stderr(stderr):
            test(stderr, **fixtures)

    return run


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(progress_line, "EVERY", 0)
    monkeypatch.setattr(progress_line, "FIRST_AFTER", 0)
    monkeypatch.setattr(module, "EVERY_LIVE", 0)


def findings(number, category=Category.MISSING, **more):
    return [Finding(category, Uids("1", "1.1", f"1.1.{one}"), **more) for one in range(number)]


def stored(number):
    return [Uids("1", "1.2", f"1.2.{one}") for one in range(number)]


def totals_of(*results):
    totals = Totals()
    for result in results:
        totals.add_study([result.as_json()])
    return totals


@with_stderr
def test_progress_with_an_end_in_sight(stderr, at_once):
    progress = Progress(quiet=False)
    progress.listing(200)
    progress.begin(3400, 400, Totals())
    progress.compared(400, Totals())
    progress.compared(1234, totals_of(StudyResult("1", "a", stored(5000), findings=findings(1))))
    lines = stderr.getvalue().splitlines()
    assert lines[:2] == [
        "listing the studies of Orthanc, ledger and stores: 200 so far",
        "3,400 studies to compare, 400 of them were before",
    ]
    assert lines[2] == "400 of 3,400 studies, 0 instances, 0 with differences"
    end = r"1,234 of 3,400 studies, 5,001 instances, 1 with differences, [\d,.]+ instances/s"
    end += r", done by [\d: -]+"
    assert re.fullmatch(end, lines[3])


@with_stderr
def test_one_line_at_a_terminal(stderr, at_once, capsys):
    stderr.terminal = True
    progress = Progress(quiet=True)
    progress.compared(1, Totals())
    progress.compared(2, Totals())
    Words(progress).add(StudyResult("1", "a", findings=findings(1)), {})
    clear = "\r\x1b[K"
    *shown, rest = stderr.getvalue().split(clear)[1:]
    assert [line[:2] for line in shown] == ["1 ", "2 "]
    assert (rest, "\n" in stderr.getvalue()) == ("", False), "there is room for what is found"
    assert capsys.readouterr().out.startswith("account a, study 1:\n")


@with_stderr
def test_it_does_not_say_too_often(stderr):
    progress = Progress(quiet=False)
    progress.begin(1, 0, Totals())
    for _ in range(1000):
        progress.listing(1)
        progress.compared(1, Totals())
    assert stderr.getvalue() == "1 study to compare\n"


@with_stderr
def test_programs_get_no_heading(stderr):
    Progress(quiet=True).begin(1, 0, Totals())
    assert stderr.getvalue() == ""


@with_stderr
def test_what_is_said_of_a_study(stderr, capsys):
    words = Words(Progress(quiet=False))
    found = [
        *findings(1, reason="it came with\x1b[2J a line\nbreak"),
        *findings(1, Category.DIFFERENT, digests={"Sha256": "aa", "StoreSha256": "bb"}),
        *findings(3, Category.SUPERSEDED),
        *findings(SHOWN + 7, Category.UNKNOWN),
    ]
    words.add(StudyResult("1", "a", findings=found), {})
    words.add(StudyResult("2", "a", findings=findings(1, Category.SUPERSEDED)), {})
    words.add(StudyResult("3", None, error="away"), {})
    words.add(StudyResult(None, None, error="a rule is wrong"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "account a, study 1:",
        "  missing            1.1.0  series 1.1  it came with [2J a line break",
        "  different          1.1.0  series 1.1  SHA-256 aa, the store has bb",
    ]
    assert len(lines) == 3 + SHOWN + 3
    assert lines[-3:] == [
        "  unknown            and 7 more",
        "study 3: not compared: away",
        "a rule is wrong",
    ]


@with_stderr
def test_the_sum(stderr, capsys):
    words = Words(Progress(quiet=False))
    totals = totals_of(StudyResult("1", "a", stored(5), 1234567, findings=findings(1)))
    totals.add_lines([StudyResult("2", None, error="away").as_json()])
    words.end(totals, {"Orthanc": False, "LostChanges": 7})
    assert capsys.readouterr().out.splitlines() == [
        "compared 1 study, 6 instances, 1,234,567 bytes: differences in 1 study",
        "  missing in the store: 1",
        "  lost before anybody read them: 7 changes (orthanc-gcp losses)",
    ]
    assert stderr.getvalue().splitlines() == [
        "could not be compared: 1, as said above",
        "Orthanc was not asked: whether all is there is not known",
    ]


@pytest.mark.parametrize("number", [0, 1, 3])
def test_one_document_for_programs(capsys, number):
    documents = Documents()
    quiet = StudyResult("0", "a", findings=findings(1, Category.SUPERSEDED))
    for result in [quiet] + [StudyResult("1", "a", findings=findings(1))] * number:
        documents.add(result, result.as_json())
    documents.end(Totals(), {"ExitCode": 1})
    told = json.loads(capsys.readouterr().out)
    assert told["ExitCode"] == 1
    assert [line["Study"] for line in told["Studies"]] == ["1"] * number
