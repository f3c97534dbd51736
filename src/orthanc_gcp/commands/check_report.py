"""The findings of ``orthanc-gcp check``: as lines for people, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orthanc_gcp.commands.printing import cleaned
from orthanc_gcp.doctor import Finding, Result

__all__ = ["as_document", "print_findings"]

_COLOURS = {
    Result.PASSED: "green",
    Result.WARNING: "yellow",
    Result.FAILED: "red",
    Result.SKIPPED: "dim",
    Result.UNKNOWN: "magenta",
}
_TITLE_WIDTH = len("  search through Orthanc")
_RESULT_WIDTH = max(len(result.value) for result in Result)


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


def print_findings(
    groups: Mapping[str, Iterable[Finding]], warnings: list[str]
) -> dict[str, list[Finding]]:
    """Print each line as it comes, for some of them take seconds; the findings by their group."""
    console = Console(highlight=False)
    for warning in warnings:
        console.print(f"[yellow]warning[/] {escape(cleaned(warning))}")
    found: dict[str, list[Finding]] = {}
    for title, findings in groups.items():
        console.print(f"[bold]{escape(cleaned(title))}[/]")
        found[title] = []
        for finding in findings:
            console.print(_line(finding))
            found[title].append(finding)
    return found


def _line(finding: Finding) -> Table:
    row = Table.grid(padding=(0, 1))
    row.add_column(width=_TITLE_WIDTH)
    row.add_column(width=_RESULT_WIDTH)
    row.add_column(overflow="fold")
    colour = _COLOURS[finding.result]
    remedy = f"\n[bold]remedy:[/] {escape(cleaned(finding.remedy))}" if finding.remedy else ""
    words = escape(cleaned(finding.cause)) + remedy
    row.add_row(f"  {finding.check}", f"[{colour}]{finding.result.value}[/]", words)
    return row
