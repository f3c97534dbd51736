"""Failures on demand: what the emulator does wrong, settable while it runs.

A reader takes :attr:`FaultSettings.current`, which never changes (but for the counters of its
rules): a change puts another one in its place. So one request sees one set of values, and reading
costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum, auto
from typing import Any

from orthanc_gcp.emulator.faults.network_profiles import network_settings
from orthanc_gcp.emulator.faults.quotas import Quota, read_quota
from orthanc_gcp.emulator.faults.refusals import REFUSALS, NamedRefusal
from orthanc_gcp.emulator.faults.rules import Fault, FaultRules, read_endpoint_fault, read_rules
from orthanc_gcp.emulator.faults.setting_values import (
    Kind,
    chance,
    choice,
    duration,
    flag,
    optional,
    permissions,
    rate,
    scopes,
    seconds,
    snake_case,
    texts,
    whole,
)

__all__ = [
    "IDENTICAL_OK",
    "SETTINGS",
    "Control",
    "FaultSettings",
    "Setting",
    "SettingError",
    "SettingValues",
]


ALWAYS_CONFLICT = "always-conflict"
IDENTICAL_OK = "identical-ok"
_NETWORK = "network"


class SettingError(ValueError):
    """A setting that there is not, or a value that it cannot have."""


class Control(StrEnum):
    """By what kind of control a person sets a value."""

    SWITCH = auto()
    NUMBER = auto()
    CHOICE = auto()
    LIST = auto()
    JSON = auto()


@dataclass(frozen=True)
class Setting:
    """A setting as people see it, and what checks its values.

    Attributes
    ----------
    area : str
        What it is about; settings of one area stand together on the page.
    at_first : Any
        Its value in JSON when nothing is wrong. None means that a number may be left out.
    read : Kind
        Checks another value in JSON and returns what it means.
    sentence : str
        What it does, with code in backquotes.
    control, unit : Control, str
        How it is set, and what its values are counted in.
    choices : tuple
        The values of :attr:`Control.CHOICE`; None stands for no choice.
    """

    area: str
    at_first: Any
    read: Kind
    sentence: str
    control: Control
    unit: str = ""
    choices: tuple[str | int | None, ...] = ()


@dataclass(frozen=True)
class SettingValues:
    """The value of every setting; those of JSON have the same names in camel case."""

    refusal: NamedRefusal | None
    deleted_keys: frozenset[str]
    revoked_refresh_tokens: frozenset[str]
    disabled_api: bool
    denied_permissions: frozenset[str]
    denied_impersonation: bool
    denied_quota_projects: frozenset[str]
    strangers: frozenset[str]
    granted_scopes: tuple[str, ...] | None
    metadata: bool
    token_endpoint: Fault | None
    clock_offset: float
    date_offset: float
    faults: FaultRules
    seed: int
    latency: float
    instance_latency: float
    bandwidth: int | None
    quota: Quota | None
    transaction_time: float
    search_lag: float
    operation_delay: float
    operation_failure: int | None
    operation_throughput: float | None
    max_operations: int | None
    unlogged_errors: float
    missing_resource: int
    empty_qido: int
    duplicates: str

    @property
    def disturb_calls(self) -> bool:
        """Whether calls of the API may be late or broken."""
        return bool(self.faults or self.latency or self.bandwidth)

    def scopes(self, asked: Iterable[str]) -> tuple[str, ...]:
        """Return the scopes that a token gets when some are asked for."""
        return tuple(asked) if self.granted_scopes is None else self.granted_scopes


class FaultSettings:
    """The fault settings of one emulator; nothing is wrong at first, but for what is given."""

    current: SettingValues
    _json: dict[str, Any]
    _read: dict[str, Any]

    def __init__(self, at_first: Mapping[str, Any] | None = None) -> None:
        self._at_first = dict(at_first or {})
        self.reset()

    def reset(self) -> None:
        """Set everything to what it was at first; rules begin anew."""
        self._json = {name: setting.at_first for name, setting in SETTINGS.items()}
        self._read = _read(self._json)
        self.current = _values(self._read)
        self.change(**self._at_first)

    def as_json(self) -> dict[str, Any]:
        """Return the value of every setting; rules with what they have done so far."""
        rules = zip(self._json["faults"], self.current.faults.counts(), strict=True)
        return {**self._json, "faults": [{**rule, **counts} for rule, counts in rules]}

    def change(self, **changes: Any) -> None:
        """Change settings by their names in JSON: all of them, or none.

        ``network`` stands for the settings of a network profile, before those that are named.

        Raises
        ------
        SettingError
            There is no such setting, or it cannot have the value.
        """
        changes = _with_profile(changes)
        unknown = sorted(set(changes) - set(SETTINGS))
        if unknown:
            names = ", ".join((*SETTINGS, _NETWORK))
            raise SettingError(f"there is no fault setting {unknown[0]!r}: {names}")
        read = {**self._read, **_read(changes)}
        values = _values(read)
        if not {"faults", "seed"} & set(changes):
            # They go on counting.
            values = replace(values, faults=self.current.faults)
        self._json, self._read, self.current = {**self._json, **changes}, read, values


def _with_profile(changes: dict[str, Any]) -> dict[str, Any]:
    """Return changes with the settings of a network profile in its place."""
    if _NETWORK not in changes:
        return changes
    others = {name: value for name, value in changes.items() if name != _NETWORK}
    try:
        return {**network_settings(changes[_NETWORK]), **others}
    except ValueError as error:
        raise SettingError(f"{_NETWORK} {error}") from error


def _read(values: dict[str, Any]) -> dict[str, Any]:
    """Return what the JSON values of some settings mean."""
    found = {}
    for name, value in values.items():
        try:
            found[name] = SETTINGS[name].read(value)
        except (TypeError, ValueError) as error:
            raise SettingError(f"{name} {error}") from error
    return found


def _values(read: dict[str, Any]) -> SettingValues:
    fields = {snake_case(name): value for name, value in read.items()}
    return SettingValues(**{**fields, "faults": FaultRules(fields["faults"], fields["seed"])})


_ACCESS = "Identities and permissions"
_TOKENS = "Tokens, metadata server and clocks"
_CALLS = "Calls of the API"
_ANSWERS = "Answers, searches and operations"


def _switch(area: str, default: bool, sentence: str) -> Setting:
    return Setting(area, default, flag, sentence, Control.SWITCH)


def _number(area: str, default: int | None, read: Kind, sentence: str, unit: str = "") -> Setting:
    return Setting(area, default, read, sentence, Control.NUMBER, unit)


def _choice(area: str, default: str | int, sentence: str, *choices: str | int) -> Setting:
    return Setting(area, default, choice(*choices), sentence, Control.CHOICE, "", choices)


def _list(area: str, read: Kind, sentence: str) -> Setting:
    return Setting(area, [], read, sentence, Control.LIST, "one on each line")


def _json(area: str, default: Any, read: Kind, sentence: str) -> Setting:
    return Setting(area, default, read, sentence, Control.JSON, "JSON")


def _refusal(value: Any) -> NamedRefusal:
    return REFUSALS[choice(*REFUSALS)(value)]


SETTINGS: dict[str, Setting] = {
    "refusal": Setting(
        _CALLS,
        None,
        optional(_refusal),
        "A refusal that people meet at Google, by its name.",
        Control.CHOICE,
        choices=(None, *REFUSALS),
    ),
    "deletedKeys": _list(
        _ACCESS,
        texts,
        "The ids of keys that sign neither assertions nor access tokens any more.",
    ),
    "revokedRefreshTokens": _list(_ACCESS, texts, "Refresh tokens that are refused."),
    "disabledApi": _switch(
        _CALLS, False, "Every call of the Healthcare API is 403 `SERVICE_DISABLED`."
    ),
    "deniedPermissions": _list(
        _ACCESS, permissions, "Permissions that nobody has, whatever a policy says."
    ),
    "deniedImpersonation": _switch(
        _ACCESS,
        False,
        "Nobody gets a token of another service account: 403 `IAM_PERMISSION_DENIED`.",
    ),
    "deniedQuotaProjects": _list(
        _ACCESS,
        texts,
        "Projects that `x-goog-user-project` may not name: 403 `USER_PROJECT_DENIED`.",
    ),
    "strangers": _list(
        _ACCESS,
        texts,
        "Identities that have no permission anywhere, as those of another project:"
        " e-mail addresses, `principal://…`.",
    ),
    "grantedScopes": _json(
        _TOKENS,
        None,
        optional(scopes),
        "The scopes that all new tokens get, in place of those asked for.",
    ),
    "metadata": _switch(
        _TOKENS, True, "There is a metadata server; without, its paths are the 404 page."
    ),
    "tokenEndpoint": _json(
        _TOKENS,
        None,
        read_endpoint_fault,
        "What `/token`, `/v1/token` and `/v1/oauthtoken` do instead of answering.",
    ),
    "clockOffset": _number(
        _TOKENS, 0, seconds, "How far Google's clock is ahead of this machine's.", "seconds"
    ),
    "dateOffset": _number(
        _TOKENS,
        0,
        seconds,
        "How far the `Date` header is off besides, and nothing else is.",
        "seconds",
    ),
    "faults": _json(_CALLS, [], read_rules, "Fault rules for calls of the Healthcare API."),
    "seed": _number(
        _CALLS,
        0,
        whole(0, 2**63),
        "What the rules' chances are drawn from.",
        "a whole number from 0 on",
    ),
    "latency": _number(
        _CALLS, 0, duration, "How much longer each call of the API takes.", "seconds"
    ),
    "instanceLatency": _number(
        _CALLS,
        0,
        duration,
        "How much longer each instance but the first of an upload or of a retrieval takes.",
        "seconds",
    ),
    "bandwidth": _number(
        _CALLS,
        None,
        optional(whole(1, 10**12)),
        "What each connection carries for calls of the API, both directions together.",
        "bytes per second",
    ),
    "quota": _json(
        _CALLS,
        None,
        optional(read_quota),
        'How many calls a minute may have, as in `{"requestsPerMinute": 60}`;'
        " more are 429 `RATE_LIMIT_EXCEEDED`.",
    ),
    "transactionTime": _number(
        _CALLS,
        1800,
        duration,
        "How long an upload or a retrieval may take; then it is 503, or the answer breaks off.",
        "seconds",
    ),
    "searchLag": _number(
        _ANSWERS,
        0,
        duration,
        "How long it takes until searches find what was stored, and no more what was deleted.",
        "seconds",
    ),
    "operationDelay": _number(
        _ANSWERS,
        0,
        duration,
        "How long an operation begun from then on waits before anything is done.",
        "seconds",
    ),
    "operationFailure": _number(
        _ANSWERS,
        None,
        optional(whole(1, 16)),
        "The code with which operations end that would begin now; nothing is done then.",
        "a number of `google.rpc.Code`, 1 to 16",
    ),
    "operationThroughput": _number(
        _ANSWERS,
        None,
        optional(rate),
        "How many instances each operation handles at most.",
        "instances per second",
    ),
    "maxOperations": _number(
        _ANSWERS,
        None,
        optional(whole(0, 1000)),
        "How many operations go on at once; one more of a store is 429 `RATE_LIMIT_EXCEEDED`.",
        "operations",
    ),
    "unloggedErrors": _number(
        _ANSWERS,
        0,
        chance,
        "The part of the failures of an import or export that the log lacks.",
        "0 to 1",
    ),
    "missingResource": _choice(
        _ANSWERS,
        403,
        "The status of what does not exist in DICOMweb, and of a dataset.",
        403,
        404,
    ),
    "emptyQido": _choice(_ANSWERS, 204, "The status of a search that finds nothing.", 200, 204),
    "duplicates": _choice(
        _ANSWERS,
        ALWAYS_CONFLICT,
        "What becomes of an instance that is stored already, byte for byte.",
        ALWAYS_CONFLICT,
        IDENTICAL_OK,
    ),
}
"""Every setting by its name in JSON, in the order in which they are listed.

The guide begins the explanation of each with its sentence.
"""
