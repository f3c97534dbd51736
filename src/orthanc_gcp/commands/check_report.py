"""The findings of ``orthanc-gcp check``: as lines for people, and as JSON."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence

import click

from orthanc_gcp.commands.live.busy import while_waiting
from orthanc_gcp.commands.printing import cleaned
from orthanc_gcp.doctor import Finding, Result

__all__ = ["as_document", "collect_findings", "print_findings"]

_COLOURS = {
    Result.PASSED: "green",
    Result.WARNING: "yellow",
    Result.FAILED: "red",
    Result.SKIPPED: None,
    Result.UNKNOWN: "magenta",
}
_TITLE_WIDTH = len("  search through Orthanc")
_RESULT_WIDTH = max(len(result.value) for result in Result)
_NARROWEST = 20
"""Columns for the words, however narrow the terminal is."""


def as_document(
    found: Mapping[str, list[Finding]],
    warnings: list[str],
    accounts: Sequence[str],
    *,
    passed: bool,
) -> dict[str, object]:
    """All findings, as ``--json`` prints them.

    Parameters
    ----------
    found
        Those of "Orthanc", of "account NAME" for each account, and of "custody".
    warnings
        What the configuration was read with, and is no error.
    """
    documents = {title: [each.as_json() for each in findings] for title, findings in found.items()}
    return {
        "Passed": passed,
        "Warnings": warnings,
        "Orthanc": documents["Orthanc"],
        "Accounts": {name: documents[f"account {name}"] for name in accounts},
        "Custody": documents["custody"],
    }


def collect_findings(
    groups: Mapping[str, Iterable[Finding]], found: dict[str, list[Finding]]
) -> None:
    """Make all checks, and add what they find to ``found``, by group."""
    for title, findings in groups.items():
        for finding in while_waiting(findings, f"checking {title}", quiet=True):
            found[title].append(finding)


def print_findings(
    groups: Mapping[str, Iterable[Finding]], warnings: list[str], found: dict[str, list[Finding]]
) -> None:
    """Make all checks, print each line as it comes, for some take seconds, and add it to ``found``.

    Parameters
    ----------
    warnings
        What the configuration was read with, and is no error.
    found
        Has a list for each group.
    """
    for warning in warnings:
        _print(f"{click.style('warning', fg='yellow')} {cleaned(warning)}")
    for title, findings in groups.items():
        _print(click.style(cleaned(title), bold=True))
        for finding in while_waiting(findings, f"checking {title}"):
            _print(_row(finding))
            found[title].append(finding)


def _row(finding: Finding) -> str:
    """What was checked, the result, and beside them the words, as wide as the terminal."""
    result = finding.result.value.ljust(_RESULT_WIDTH)
    colour = _COLOURS[finding.result]
    styled = click.style(result, fg=colour, dim=None if colour else True)
    indent = " " * (_TITLE_WIDTH + _RESULT_WIDTH + 2)
    width = max(_NARROWEST, shutil.get_terminal_size().columns - len(indent))
    lines = _folded(cleaned(finding.cause), width)
    if finding.remedy:
        first, *others = _folded(f"remedy: {cleaned(finding.remedy)}", width)
        lines += [first.replace("remedy:", click.style("remedy:", bold=True), 1), *others]
    words = f"\n{indent}".join(lines)
    return f"{f'  {finding.check}':{_TITLE_WIDTH}} {styled} {words}"


def _folded(text: str, width: int) -> list[str]:
    folded = [textwrap.wrap(line, width, break_on_hyphens=False) for line in text.splitlines()]
    return [line for lines in folded for line in lines] or [""]


def _print(text: str) -> None:
    click.echo(text, color=False if os.environ.get("NO_COLOR") else None)
