"""Failures on demand: what the emulator does wrong, settable while it runs.

A reader takes :attr:`Switches.state`, which never changes: a change puts another one in its
place. So one request sees one state, and reading costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from orthanc_gcp.emulator.roles import KNOWN_PERMISSIONS

__all__ = ["Fault", "State", "SwitchError", "Switches"]


class SwitchError(ValueError):
    """A switch that there is not, or a value that it cannot have."""


@dataclass(frozen=True)
class Fault:
    """What an endpoint does instead of answering as it should.

    ``cut`` is ``reset`` (the connection breaks before the answer), ``truncate`` (in the middle of
    it), or nothing. With a ``status``, the answer is this one; without, it is the true one.
    """

    cut: str = ""
    delay: float = 0.0
    status: int = 0
    body: str = ""
    content_type: str = "text/plain"


@dataclass(frozen=True)
class State:
    """The position of every switch; those of JSON have the same names in camel case."""

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

    def scopes(self, asked: Iterable[str]) -> tuple[str, ...]:
        """Return the scopes that a token gets when some are asked for."""
        return tuple(asked) if self.granted_scopes is None else self.granted_scopes


class Switches:
    """The switches of one emulator; when it starts, nothing is wrong."""

    state: State
    _json: dict[str, Any]

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Put every switch where it was at first: nothing is wrong."""
        self._json = {name: default for name, (default, _) in _SWITCHES.items()}
        self.state = _parse(self._json)

    def as_json(self) -> dict[str, Any]:
        """Return the position of every switch."""
        return dict(self._json)

    def change(self, **changes: Any) -> None:
        """Set switches by their names in JSON; raise :class:`SwitchError` and set none of them."""
        unknown = sorted(set(changes) - set(_SWITCHES))
        if unknown:
            raise SwitchError(f"there is no switch {unknown[0]!r}: {', '.join(_SWITCHES)}")
        changed = {**self._json, **changes}
        self.state = _parse(changed)
        self._json = changed


_MAX_SECONDS = 10**9
"""Three decades: beyond the calendar, no date could be written."""


def _parse(values: dict[str, Any]) -> State:
    parsed = {}
    for name, (_, parse) in _SWITCHES.items():
        try:
            parsed[name] = parse(values[name])
        except (TypeError, ValueError) as error:
            raise SwitchError(f"{name} {error}") from error
    return State(**{_FIELDS[name]: value for name, value in parsed.items()})


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("is true or false")
    return value


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("is a number of seconds")
    if not abs(value) <= _MAX_SECONDS:
        raise ValueError("is too far away")
    return float(value)


def _texts(value: Any) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError("is a list of texts")
    return frozenset(value)


def _permissions(value: Any) -> frozenset[str]:
    names = _texts(value)
    unknown = sorted(names - KNOWN_PERMISSIONS)
    if unknown:
        raise ValueError(f"names a permission that there is not: {unknown[0]}")
    return names


def _scopes(value: Any) -> tuple[str, ...] | None:
    return None if value is None else tuple(sorted(_texts(value)))


_FAULT: dict[str, Callable[[Any], Any]] = {
    "delay": _seconds,
    "status": int,
    "body": str,
    "contentType": str,
}


def _fault(value: Any) -> Fault | None:
    if value is None:
        return None
    if value in ("reset", "truncate"):
        return Fault(cut=value)
    if not isinstance(value, dict) or not set(value) <= set(_FAULT):
        raise ValueError(f'is null, "reset", "truncate", or an object of {", ".join(_FAULT)}')
    parsed = {name: _FAULT[name](given) for name, given in value.items()}
    if "status" in parsed and not 200 <= parsed["status"] <= 599:
        raise ValueError("has a status that is none")
    if "contentType" in parsed:
        parsed["content_type"] = parsed.pop("contentType")
    return Fault(**parsed)


_SWITCHES: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "deletedKeys": ([], _texts),
    "revokedRefreshTokens": ([], _texts),
    "disabledApi": (False, _flag),
    "deniedPermissions": ([], _permissions),
    "deniedImpersonation": (False, _flag),
    "deniedQuotaProjects": ([], _texts),
    "strangers": ([], _texts),
    "grantedScopes": (None, _scopes),
    "metadata": (True, _flag),
    "tokenEndpoint": (None, _fault),
    "clockOffset": (0, _seconds),
    "dateOffset": (0, _seconds),
}
"""Each switch's name, its position at first, and what checks and reads another one."""

_FIELDS = {
    name: "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    for name in _SWITCHES
}
