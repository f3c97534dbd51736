"""``orthanc-gcp check``: what is wrong, and what mends it, as a table or as JSON."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from orthanc_gcp.arguments import Configs, fail, settings_of
from orthanc_gcp.clock import SystemClock
from orthanc_gcp.connector import transport
from orthanc_gcp.doctor import Finding, Result, examine

__all__ = ["check"]

_COLOURS = {Result.PASSED: "green", Result.FAILED: "red", Result.SKIPPED: "dim"}


def check(
    config: Configs,
    account: Annotated[
        list[str] | None, typer.Option(help="Only this account; may be repeated.")
    ] = None,
    write: Annotated[
        bool,
        typer.Option("--write", help="Also send, find, fetch and delete a tiny instance."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
) -> None:
    """Say what is wrong between Orthanc and its stores, and what mends it.

    The exit code is 0 only when all checks passed.
    """
    settings = settings_of(config)
    names = [*(each.name for each in settings.accounts), *settings.rejected]
    unknown = [name for name in account or [] if name not in names]
    if unknown or not names:
        problems = "; ".join(str(problem) for problem in settings.problems)
        fail(f"There is no account {unknown[0]}" if unknown else problems)
    clock = SystemClock()
    found = {
        name: list(examine(name, settings, transport(settings, clock), clock, write=write))
        for name in account or names
    }
    passed = not any(f.result is Result.FAILED for findings in found.values() for f in findings)
    warnings = [str(problem) for problem in settings.problems if not problem.error]
    if as_json:
        accounts = {name: [each.as_json() for each in found[name]] for name in found}
        typer.echo(
            json.dumps({"Passed": passed, "Warnings": warnings, "Accounts": accounts}, indent=2)
        )
    else:
        _print(found, warnings)
    raise typer.Exit(0 if passed else 1)


def _print(found: dict[str, list[Finding]], warnings: list[str]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    for warning in warnings:
        console.print(f"[yellow]warning[/] {escape(warning)}")
    for name, findings in found.items():
        table = Table(title=escape(f"account {name}"), title_justify="left", show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for each in findings:
            mend = f"\n[bold]mend:[/] {escape(each.mend)}" if each.mend else ""
            colour = _COLOURS[each.result]
            words = escape(each.cause) + mend
            table.add_row(each.check, f"[{colour}]{each.result.value}[/]", words)
        console.print(table)
