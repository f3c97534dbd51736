"""Network profiles: named sets of those fault settings that say how fast the store is.

Google's DICOM best practices tell of 30 images a second with 6 requests at once and of 60 with 20,
in the same region: 0.2 to 0.33 seconds a request. No source tells of the rate of a connection or
of the numbers of quotas; those are assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["GOOGLE", "PACE", "network_settings"]

PACE: Mapping[str, Any] = {
    "latency": 0,
    "bandwidth": None,
    "instanceLatency": 0,
    "quota": None,
}
"""The settings of a profile, and what they are where a profile does not name them."""

GOOGLE: Mapping[str, Any] = {
    "latency": 0.2,
    "bandwidth": 10_000_000,
    "quota": {"requestsPerMinute": 6000},
}

_PROFILES: Mapping[str, Mapping[str, Any]] = {"google": GOOGLE}


def network_settings(value: Any) -> dict[str, Any]:
    """Return all settings of a profile, by their names in JSON.

    Parameters
    ----------
    value : Any
        The name of a profile; or an object of settings, those that are missing being as at first;
        or None, for all of them as at first. The settings' values are not checked here.

    Raises
    ------
    ValueError
        It is none of these; in words that follow the name of what was set.
    """
    profile = _PROFILES.get(value) if isinstance(value, str) else value
    if profile is None and value is None:
        profile = {}
    if not isinstance(profile, Mapping) or not set(profile) <= set(PACE):
        names = ", ".join(f'"{name}"' for name in _PROFILES)
        raise ValueError(f"is {names} or an object of {', '.join(PACE)}")
    return {**PACE, **profile}
