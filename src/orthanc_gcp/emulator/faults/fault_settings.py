"""Failures on demand: what the emulator does wrong, settable while it runs.

A reader takes :attr:`FaultSettings.current`, which never changes (but for the counters of its
rules): a change puts another one in its place. So one request sees one set of values, and reading
costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from orthanc_gcp.emulator.faults.quotas import Quota, read_quota
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

__all__ = ["ALWAYS_CONFLICT", "FaultSettings", "SettingError", "SettingValues"]


IDENTICAL_OK = "identical-ok"
ALWAYS_CONFLICT = "always-conflict"


class SettingError(ValueError):
    """A setting that there is not, or a value that it cannot have."""


@dataclass(frozen=True)
class SettingValues:
    """The value of every setting; those of JSON have the same names in camel case."""

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
    bandwidth: int | None
    quota: Quota | None
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
        self._json = {name: default for name, (default, _) in _SETTINGS.items()}
        self._read = _read(self._json)
        self.current = _values(self._read)
        self.change(**self._at_first)

    def as_json(self) -> dict[str, Any]:
        """Return the value of every setting; rules with what they have done so far."""
        rules = zip(self._json["faults"], self.current.faults.counts(), strict=True)
        return {**self._json, "faults": [{**rule, **counts} for rule, counts in rules]}

    def change(self, **changes: Any) -> None:
        """Change settings by their names in JSON: all of them, or none.

        Raises
        ------
        SettingError
            There is no such setting, or it cannot have the value.
        """
        unknown = sorted(set(changes) - set(_SETTINGS))
        if unknown:
            raise SettingError(f"there is no fault setting {unknown[0]!r}: {', '.join(_SETTINGS)}")
        read = {**self._read, **_read(changes)}
        values = _values(read)
        if not {"faults", "seed"} & set(changes):
            # They go on counting.
            values = replace(values, faults=self.current.faults)
        self._json, self._read, self.current = {**self._json, **changes}, read, values


def _read(values: dict[str, Any]) -> dict[str, Any]:
    """Return what the JSON values of some settings mean."""
    found = {}
    for name, value in values.items():
        try:
            found[name] = _SETTINGS[name][1](value)
        except (TypeError, ValueError) as error:
            raise SettingError(f"{name} {error}") from error
    return found


def _values(read: dict[str, Any]) -> SettingValues:
    fields = {snake_case(name): value for name, value in read.items()}
    return SettingValues(**{**fields, "faults": FaultRules(fields["faults"], fields["seed"])})


_SETTINGS: dict[str, tuple[Any, Kind]] = {
    "deletedKeys": ([], texts),
    "revokedRefreshTokens": ([], texts),
    "disabledApi": (False, flag),
    "deniedPermissions": ([], permissions),
    "deniedImpersonation": (False, flag),
    "deniedQuotaProjects": ([], texts),
    "strangers": ([], texts),
    "grantedScopes": (None, optional(scopes)),
    "metadata": (True, flag),
    "tokenEndpoint": (None, read_endpoint_fault),
    "clockOffset": (0, seconds),
    "dateOffset": (0, seconds),
    "faults": ([], read_rules),
    "seed": (0, whole(0, 2**63)),
    "latency": (0, duration),
    "bandwidth": (None, optional(whole(1, 10**12))),
    "quota": (None, optional(read_quota)),
    "searchLag": (0, duration),
    "operationDelay": (0, duration),
    "operationFailure": (None, optional(whole(1, 16))),
    "operationThroughput": (None, optional(rate)),
    "maxOperations": (None, optional(whole(0, 1000))),
    "unloggedErrors": (0, chance),
    "missingResource": (403, choice(403, 404)),
    "emptyQido": (204, choice(200, 204)),
    "duplicates": (IDENTICAL_OK, choice(IDENTICAL_OK, ALWAYS_CONFLICT)),
}
"""Each setting's name, its value at first, and what checks and reads another one."""
