"""The rules of ``Send``, and ``Backfill``: one with a mistake in it sends nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

from orthanc_gcp.configuration.option_types import option_names, read_options
from orthanc_gcp.configuration.options import SECTION, BackfillOptions, SendRule
from orthanc_gcp.configuration.problems import Effect, Problem, kind_of, shown, unknown

__all__ = ["backfill", "read_rule", "rules"]


def rules(entries: Any, accounts: Collection[str], problems: list[Problem]) -> Iterator[SendRule]:
    """The rules that can be followed; those for an account with an error are among them.

    Parameters
    ----------
    accounts
        Whom a rule may send to, those with an error included: what is for them waits.
    """
    path = f"{SECTION}.Send"
    if not isinstance(entries, list):
        message = f"found {kind_of(entries)}, expected a list"
        problems.append(Problem(path, message, effect=Effect.NO_RULE))
        return
    for number, entry in enumerate(entries):
        found: list[Problem] = []
        values = read_rule(SendRule, "to", entry, f"{path}[{number}]", accounts, found)
        # An unknown option may have been meant to narrow the rule: too much would be sent.
        problems += (replace(problem, error=True, effect=Effect.NO_RULE) for problem in found)
        if not found:
            yield SendRule(**values)


def read_rule(
    model: type[Any],
    account: str,
    entry: Any,
    path: str,
    accounts: Collection[str],
    problems: list[Problem],
) -> dict[str, Any]:
    """What a model of a rule is made of, by the fields of the model.

    Parameters
    ----------
    account
        The field that names an account; its option is the same with a capital letter.
    """
    if not isinstance(entry, dict):
        problems.append(Problem(path, f"found {kind_of(entry)}, expected an object"))
        return {}
    problems += unknown(entry, option_names(model), path)
    values = read_options(model, entry, path, problems)
    if account in values and values[account] not in accounts:
        message = f"there is no account {shown(values[account])}, expected one of Accounts"
        problems.append(Problem(f"{path}.{account.capitalize()}", message))
    return values


def backfill(value: Any, rules: bool, problems: list[Problem]) -> BackfillOptions | None:
    """What is asked for; with a mistake in it, nothing is sent at a time that was not meant."""
    path = f"{SECTION}.Backfill"
    if isinstance(value, bool):
        value = {} if value else None
    elif not isinstance(value, dict):
        message = f"found {kind_of(value)}, expected true, false or an object"
        problems.append(Problem(path, message))
        return None
    if value is None:
        return None
    found = unknown(value, option_names(BackfillOptions), path)
    values = read_options(BackfillOptions, value, path, found)
    if not rules:
        found.append(Problem(path, "no rule says what is sent where, expected Send beside it"))
    problems += (replace(problem, error=True) for problem in found)
    return None if found else BackfillOptions(**values)
