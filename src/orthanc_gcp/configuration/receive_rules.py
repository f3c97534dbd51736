"""The rules of ``Receive`` and ``Prefetch``: one with a mistake in it brings nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from orthanc_gcp.configuration.options import (
    PUBSUB_SCOPES,
    SECTION,
    Account,
    PrefetchRule,
    ReceiveRule,
)
from orthanc_gcp.configuration.problems import Effect, Problem, kind_of, shown
from orthanc_gcp.configuration.send_rules import read_rule

__all__ = ["prefetch_rules", "receive_rules"]

Rule = TypeVar("Rule", ReceiveRule, PrefetchRule)
_SUBSCRIPTIONS = "/subscriptions/"


def receive_rules(
    entries: Any, accounts: Sequence[Account], known: Collection[str], problems: list[Problem]
) -> tuple[ReceiveRule, ...]:
    """The rules that can be followed, each with the whole name of its subscription.

    Parameters
    ----------
    accounts
        Those that can be used.
    known
        The names of all, those with an error included: what is for them stays where it is.
    """
    path = f"{SECTION}.Receive"
    by_name = {account.name: account for account in accounts}
    found: list[ReceiveRule] = []
    for where, rule in _rules(ReceiveRule, entries, path, known, Effect.NO_RECEIVING, problems):
        account = by_name.get(rule.account)
        if account is None:
            continue
        rule = replace(rule, subscription=_whole_name(rule.subscription, account))
        wrong = list(_contradictions(rule, where, account, found))
        problems += wrong
        if not any(one.error for one in wrong):
            found.append(rule)
    return tuple(found)


def prefetch_rules(
    entries: Any,
    accounts: Sequence[Account],
    known: Collection[str],
    worklist: str,
    problems: list[Problem],
) -> tuple[PrefetchRule, ...]:
    """The rules that can be followed.

    Parameters
    ----------
    accounts, known
        See :func:`receive_rules`.
    worklist
        The folder of Orthanc's worklist plugin; empty for none.
    """
    path, usable = f"{SECTION}.Prefetch", {account.name for account in accounts}
    found = []
    for where, rule in _rules(PrefetchRule, entries, path, known, Effect.NO_PREFETCH, problems):
        if "Query" in rule.on and (rule.modalities or rule.tags):
            words = (
                "a C-FIND for a patient has no Modalities and no Tags: expected a rule of its own"
            )
            problems.append(Problem(f"{where}.On", words, effect=Effect.NO_PREFETCH))
        elif "Worklist" in rule.on and not worklist:
            words = "there is no worklist: expected Worklists.Database, the folder of its entries"
            problems.append(Problem(f"{where}.On", words, effect=Effect.NO_PREFETCH))
        elif rule.account in usable:
            found.append(rule)
    return tuple(found)


def _whole_name(subscription: str, account: Account) -> str:
    if _SUBSCRIPTIONS in subscription:
        return subscription
    return f"projects/{account.project}{_SUBSCRIPTIONS}{subscription}"


def _contradictions(
    rule: ReceiveRule, path: str, account: Account, others: Sequence[ReceiveRule]
) -> Iterator[Problem]:
    if any(other.subscription == rule.subscription for other in others):
        # Each message is given to one of those who pull: the other would never see it.
        words = "another entry has the same subscription, expected one for each entry"
        yield Problem(f"{path}.Subscription", words, effect=Effect.NO_RECEIVING)
    if account.project.isdecimal():
        words = (
            f"Project of account {shown(account.name)} is a number, and notifications name the "
            "project by its id, expected the id"
        )
        yield Problem(f"{path}.Account", words, effect=Effect.NO_RECEIVING)
    if not set(account.scopes) & set(PUBSUB_SCOPES):
        words = (
            f"Scopes of account {shown(account.name)} may not suffice to pull a subscription, "
            f"expected {PUBSUB_SCOPES[0]} among them"
        )
        yield Problem(f"{path}.Account", words, error=False)


def _rules(
    model: type[Rule],
    entries: Any,
    path: str,
    known: Collection[str],
    effect: Effect,
    problems: list[Problem],
) -> Iterator[tuple[str, Rule]]:
    """Each rule without a mistake, and where it stands."""
    if not isinstance(entries, list):
        message = f"found {kind_of(entries)}, expected a list"
        problems.append(Problem(path, message, effect=effect))
        return
    for number, entry in enumerate(entries):
        where, found = f"{path}[{number}]", list[Problem]()
        values = read_rule(model, "account", entry, where, known, found)
        # An unknown option may have been meant to narrow the rule: too much would come.
        problems += (replace(one, error=True, effect=effect) for one in found)
        if not found:
            yield where, model(**values)
