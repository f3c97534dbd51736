"""A report is whole lines, whatever ends it, and goes on where it ended."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orthanc_gcp.custody.audit.positions import Position, ResumeError
from orthanc_gcp.custody.audit.report import Report
from orthanc_gcp.custody.audit.totals import Totals

SELECTION = {"Study": None, "Bytes": False}
WHAT = {"Selection": SELECTION, "Stores": {"a": "https://h/a"}, "Rules": "0f"}
HEADER = {"Began": "2026-01-31T18:00:00.000+00:00", **WHAT}
BEGAN = 1769882400.0


def lines_of(study, *accounts):
    return [
        {"Study": study, "Account": name, "Counts": {"Instances": 2, "Stored": 1}, "Bytes": 5}
        for name in accounts
    ]


STUDIES = [lines_of("1.1", "a"), lines_of("1.2", "a", "b"), lines_of("1.3", None)]


def write(path, studies=STUDIES, end=None):
    with Report.create(path, HEADER) as report:
        for study in studies:
            report.add(study)
        if end is not None:
            report.end(end)


def totals_of(studies):
    totals = Totals()
    for study in studies:
        totals.add_study(study)
    return totals


def resume(path):
    report, position = Report.resume(path, WHAT)
    with report:
        return position


def test_what_it_is_made_of(tmp_path):
    path = tmp_path / "report"
    write(path, end={"Complete": True})
    header, *lines, end = map(json.loads, path.read_text().splitlines())
    assert header == {"Audit": 1, **HEADER}
    assert lines == [line for study in STUDIES for line in study]
    assert end == {"End": {"Complete": True}}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_one_that_is_there_is_not_overwritten(tmp_path):
    path = tmp_path / "report"
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        Report.create(path, HEADER)
    assert path.read_text() == "mine"


def test_two_audits_do_not_write_the_same(tmp_path):
    path = tmp_path / "report"
    with Report.create(path, HEADER), pytest.raises(BlockingIOError):
        Report.resume(path, WHAT)
    assert resume(path) == Position(BEGAN)


def test_the_last_study_is_compared_again(tmp_path):
    path = tmp_path / "report"
    write(path, end={"Complete": False})
    assert resume(path) == Position(BEGAN, "1.2", totals_of(STUDIES[:2]))
    assert resume(path) == Position(BEGAN, "1.1", totals_of(STUDIES[:1])), "nothing was added"
    report, _ = Report.resume(path, WHAT)
    with report:
        for study in STUDIES:
            report.add(study)
    again = tmp_path / "again"
    write(again)
    assert path.read_text() == again.read_text()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_wherever_it_was_cut_off(tmp_path, data):
    path = tmp_path / "report"
    path.unlink(missing_ok=True)
    write(path, end={"Complete": False})
    whole = path.read_bytes()
    head = whole.index(b"\n") + 1
    path.write_bytes(whole[: data.draw(st.integers(head, len(whole)))])
    report, position = Report.resume(path, WHAT)
    done = [study for study in STUDIES if position.after and study[0]["Study"] <= position.after]
    assert position == Position(BEGAN, position.after, totals_of(done))
    with report:
        for study in STUDIES[len(done) :]:
            report.add(study)
        report.end({"Complete": False})
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no report"),
        ("{}\n", "no report"),
        ("[]\n", "no report"),
        ('{"Audit": 1', "no report"),
        ('{"Audit": 2}\n', "no report"),
        ("\x00\xff\n", "no report"),
        (json.dumps({"Audit": 1, **WHAT}) + "\n", "no report"),
        (json.dumps({"Audit": 1, **WHAT, "Began": 7}) + "\n", "no report"),
        (json.dumps({"Audit": 1, **HEADER}) + '\n{"Study": 1}\n{"Other": 1}\n', "no report"),
        (json.dumps({"Audit": 1, **HEADER}) + '\n{"End": 1}\n', "no report"),
        (json.dumps({"Audit": 1, **HEADER}) + '\n{"End": {"Complete": true}}\n', "complete"),
        (json.dumps({"Audit": 1, **HEADER, "Selection": {}}) + "\n", "another selection"),
        (json.dumps({"Audit": 1, **HEADER, "Stores": {}}) + "\n", "other stores or rules"),
        (json.dumps({"Audit": 1, **HEADER, "Rules": "1f"}) + "\n", "other stores or rules"),
    ],
)
def test_what_cannot_be_gone_on_with(tmp_path, content, words):
    path = tmp_path / "report"
    path.write_text(content)
    with pytest.raises(ResumeError, match=words):
        Report.resume(path, WHAT)
    assert path.read_text() == content, "it was left as it was"


def test_one_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        Report.resume(tmp_path / "report", WHAT)


def test_what_has_no_lines_is_no_report():
    with pytest.raises(ResumeError, match="no report"):
        Report.resume(Path("/dev/full"), WHAT)  # it gives zeros without an end
