"""Fault rules: which requests fail, and how.

Each rule draws from a generator of its own, so that the same requests in the same order fail in
the same way again.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from orthanc_gcp.emulator.faults.setting_values import (
    Kind,
    chance,
    choice,
    duration,
    flag,
    members,
    text,
    whole,
)

__all__ = [
    "MEMBERS",
    "ActiveFault",
    "Fault",
    "FaultRule",
    "FaultRules",
    "InstanceFate",
    "read_endpoint_fault",
    "read_rules",
]

_MAX_RULES = 1000
_MAX_COUNT = 10**12


@dataclass(frozen=True)
class Fault:
    """What an endpoint does instead of answering as it should.

    Attributes
    ----------
    cut : str
        Where the connection breaks: ``reset`` before the answer, ``resetRequest`` in the request's
        body, ``truncate`` and ``resetAnswer`` in the answer; empty for nowhere.
    after_bytes : int or None
        After how many bytes of that body it breaks, if not after half of them.
    delay : float
        Seconds before anything else.
    status : int
        What is answered; with 0, the true answer comes.
    body, content_type, html : str or None, str, bool
        The body of that answer, if not Google's usual error: a text, or the front end's page.
    retry_after : int or None
        Seconds, for ``Retry-After``.
    read_body : bool
        Whether the request's body is read before that answer.
    lose, refuse : float
        The parts of a transaction's instances, 0 to 1, that are acknowledged and not stored, and
        that are not stored and reported as failed.
    store_then_fail : bool
        Whether the request is handled before it fails.
    token_dies : bool
        Whether the request's access token is expired from then on.
    """

    cut: str = ""
    after_bytes: int | None = None
    delay: float = 0.0
    status: int = 0
    body: str | None = None
    content_type: str = "text/plain"
    html: bool = False
    retry_after: int | None = None
    read_body: bool = True
    lose: float = 0.0
    refuse: float = 0.0
    store_then_fail: bool = False
    token_dies: bool = False

    @property
    def comes_first(self) -> bool:
        """Whether the request is not handled at all."""
        return not self.store_then_fail and bool(self.status or self.cut == "reset")


@dataclass(frozen=True)
class FaultRule:
    """Which requests of the API a fault is for: those that match, from one on, so many times."""

    fault: Fault
    path: re.Pattern[str] = re.compile("")
    method: str = ""
    probability: float = 1.0
    count: int = _MAX_COUNT
    skip: int = 0

    def is_for(self, method: str, path: str) -> bool:
        """Return whether a request matches, whatever came before it."""
        return self.method in ("", method) and self.path.search(path) is not None


class InstanceFate(Enum):
    """What is done with an instance that arrived whole."""

    STORED = auto()
    LOST = auto()
    REFUSED = auto()


@dataclass(frozen=True)
class ActiveFault:
    """A fault that applies to a request; ``draw`` gives numbers between 0 and 1."""

    fault: Fault
    draw: Callable[[], float]

    def fate(self) -> InstanceFate:
        """Return what is done with the next instance."""
        drawn = self.draw()
        if drawn < self.fault.lose:
            return InstanceFate.LOST
        return (
            InstanceFate.REFUSED
            if drawn < self.fault.lose + self.fault.refuse
            else InstanceFate.STORED
        )


class _CountedRule:
    """A rule at work."""

    def __init__(self, rule: FaultRule, seed: str) -> None:
        self.rule = rule
        self.matched = 0
        self.used = 0
        self._request = random.Random(f"{seed}/requests")  # noqa: S311 - to be repeated # nosec B311
        self._instance = random.Random(f"{seed}/instances")  # noqa: S311 - to be repeated # nosec B311

    def applies(self) -> bool:
        """Count a request that the rule is for; return whether the fault applies to it."""
        self.matched += 1
        if self.matched <= self.rule.skip or self._request.random() >= self.rule.probability:
            return False
        if self.used >= self.rule.count:
            return False
        self.used += 1
        return True

    def activate(self) -> ActiveFault:
        return ActiveFault(self.rule.fault, self._instance.random)


class FaultRules:
    """FaultRules with their counters; used by one thread, the server's."""

    def __init__(self, rules: Sequence[FaultRule], seed: int) -> None:
        self._counted = [_CountedRule(rule, f"{seed}/{n}") for n, rule in enumerate(rules)]

    def __bool__(self) -> bool:
        return bool(self._counted)

    def fault_of(self, method: str, path: str) -> ActiveFault | None:
        """Return the fault of a request, by the first rule that applies."""
        for counted in self._counted:
            if counted.rule.is_for(method, path) and counted.applies():
                return counted.activate()
        return None

    def counts(self) -> list[dict[str, int]]:
        """Return how many requests each rule was for, and to how many it applied."""
        return [{"matched": counted.matched, "used": counted.used} for counted in self._counted]


def read_rules(value: Any) -> tuple[FaultRule, ...]:
    """Read a list of rules from JSON; the counts that a rule shows are dropped.

    Raises
    ------
    ValueError
        In words that follow the setting's name, with the number of the rule.
    """
    if not isinstance(value, list) or len(value) > _MAX_RULES:
        raise ValueError(f"is a list of rules, {_MAX_RULES} at most")
    rules = []
    for number, entry in enumerate(value):
        try:
            rules.append(_read_rule(entry))
        except ValueError as error:
            raise ValueError(f"has a rule {number} that {error}") from error
    return tuple(rules)


def read_endpoint_fault(value: Any) -> Fault | None:
    """Read the fault of all requests to the token endpoints, if there is one.

    Raises
    ------
    ValueError
        In words that follow the setting's name.
    """
    if value is None:
        return None
    if value in ("reset", "truncate"):
        return Fault(cut=value)
    try:
        return Fault(**members(value, _ENDPOINT))
    except ValueError as error:
        raise ValueError(f'is null, "reset" or "truncate", or {error}') from error


def _read_rule(value: Any) -> FaultRule:
    given = members(value, MEMBERS)
    when = {name: given.pop(name) for name in _WHEN if name in given}
    for name in _SHOWN:
        given.pop(name, None)
    fault = Fault(**given)
    _check(fault, given)
    return FaultRule(fault, **when)


def _check(fault: Fault, given: dict[str, Any]) -> None:
    effects = ("status", "cut", "lose", "refuse", "delay", "store_then_fail", "token_dies")
    if not any(given.get(effect) for effect in effects):
        raise ValueError(f"does nothing: it needs one of {', '.join(_EFFECTS)}")
    kinds = (fault.status, fault.cut, fault.lose or fault.refuse, fault.token_dies)
    if sum(map(bool, kinds)) > 1:
        raise ValueError("fails in two ways at once: status, cut, lose or refuse, tokenDies")
    if fault.store_then_fail and (fault.lose or fault.refuse or fault.token_dies):
        raise ValueError("both stores and does not")
    if fault.store_then_fail and fault.cut not in ("", "reset"):
        raise ValueError('has storeThenFail, whose cut is "reset" if there is one')
    if fault.lose + fault.refuse > 1:
        raise ValueError("loses and refuses more than there is")
    _check_details(fault, given)


def _check_details(fault: Fault, given: dict[str, Any]) -> None:
    """Refuse what would have no effect."""
    for name in ("body", "content_type", "html", "retry_after"):
        if name in given and not fault.status:
            raise ValueError(f"has a {name.replace('_', ' ')} without a status")
    if fault.html and fault.body is not None:
        raise ValueError("has both html and a body")
    if "after_bytes" in given and fault.cut in ("", "reset"):
        raise ValueError("has afterBytes, but no cut that comes after some bytes")
    if "read_body" in given and not fault.comes_first:
        raise ValueError("has readBody, but the request is handled")


def _pattern(value: Any) -> re.Pattern[str]:
    try:
        return re.compile(text(value))
    except re.error as error:
        raise ValueError(f"is a regular expression, but {error}") from error


def _part(value: Any) -> float:
    return 1.0 if value == "all" else chance(value)


_NUMBER = whole(0, _MAX_COUNT)
_WHEN: dict[str, Kind] = {
    "path": _pattern,
    "method": choice("GET", "POST", "PUT", "PATCH", "DELETE"),
    "probability": chance,
    "count": _NUMBER,
    "skip": _NUMBER,
}
_SHOWN: dict[str, Kind] = {"matched": _NUMBER, "used": _NUMBER}
_WHAT: dict[str, Kind] = {
    "status": whole(400, 599),
    "body": text,
    "contentType": text,
    "html": flag,
    "retryAfter": whole(0, 10**6),
    "readBody": flag,
    "delay": duration,
    "cut": choice("reset", "resetRequest", "truncate", "resetAnswer"),
    "afterBytes": _NUMBER,
    "lose": _part,
    "refuse": _part,
    "storeThenFail": flag,
    "tokenDies": flag,
}
MEMBERS = {**_WHEN, **_WHAT, **_SHOWN}
"""What a rule consists of, and what reads each of it."""
_EFFECTS = ("status", "cut", "lose", "refuse", "delay", "storeThenFail", "tokenDies")
_ENDPOINT: dict[str, Kind] = {
    "delay": duration,
    "status": whole(200, 599),
    "body": text,
    "contentType": text,
}
