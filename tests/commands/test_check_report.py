"""The findings of ``check``, for people and for programs."""

from __future__ import annotations

from orthanc_gcp.commands.check_report import as_document, collect_findings, print_findings
from orthanc_gcp.doctor import Finding, Result

FOUND = {
    "Orthanc": [Finding("script", Result.PASSED, "it is loaded")],
    "account [red]": [Finding("token", Result.FAILED, "no [bold] token", "do [this]")],
    "custody": [],
}


def test_lines_come_one_by_one_with_their_remedy(capsys):
    seen = []

    def findings():
        seen.append(capsys.readouterr().out)
        yield FOUND["account [red]"][0]

    groups = {"Orthanc": FOUND["Orthanc"], "account [red]": findings(), "custody": []}
    found = {title: [] for title in groups}
    print_findings(groups, ["an [option] is none"], found)
    assert found == FOUND
    (before,) = seen
    assert "warning an [option] is none" in before
    assert "script" in before
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["token", "failed", "no", "[bold]", "token"]
    assert lines[1].split() == ["remedy:", "do", "[this]"]
    assert lines[2].strip() == "custody"


def test_for_programs_nothing_is_printed_in_between(capsys):
    found = {title: [] for title in FOUND}
    collect_findings(FOUND, found)
    assert found == FOUND
    assert capsys.readouterr() == ("", "")


def test_the_document_has_every_group():
    document = as_document(FOUND, ["w"], ["[red]"], passed=False)
    assert document == {
        "Passed": False,
        "Warnings": ["w"],
        "Orthanc": [{"Check": "script", "Result": "passed", "Cause": "it is loaded", "Remedy": ""}],
        "Accounts": {
            "[red]": [
                {
                    "Check": "token",
                    "Result": "failed",
                    "Cause": "no [bold] token",
                    "Remedy": "do [this]",
                }
            ]
        },
        "Custody": [],
    }
