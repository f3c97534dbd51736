"""What stands in the wrong place of Orthanc's configuration, or under nearly the right name.

Nothing is raised: each mistake is a :class:`Problem`, and no value of a credential is in one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orthanc_gcp.configuration.files import CREDENTIAL_FIELDS
from orthanc_gcp.configuration.option_types import option_names
from orthanc_gcp.configuration.options import SECTION, Account
from orthanc_gcp.configuration.problems import Effect, Problem, meant, place_of

__all__ = ["credential_files", "misspelt_section", "stray_accounts"]

_OAUTH_CLIENTS = ("installed", "web")
"""Where the file of an OAuth client has its secret."""


def misspelt_section(configuration: Mapping[str, Any]) -> Iterator[Problem]:
    """Entries that were meant to be the section, and that nobody reads."""
    for key in configuration:
        if key != SECTION and meant(key, [SECTION]):
            message = f"no account is read from here, did you mean {SECTION}?"
            if SECTION in configuration:  # it may be one that somebody has put aside
                yield Problem(place_of("", key), message, error=False)
            else:
                yield Problem(place_of("", key), message, effect=Effect.NO_RULE)


def credential_files(configuration: Mapping[str, Any]) -> Iterator[Problem]:
    """The content of a credential file that lies among the files of Orthanc's configuration."""
    nested = {
        f"{key}.{secret}": secret in value
        for key, value in configuration.items()
        if key in _OAUTH_CLIENTS and isinstance(value, dict)
        for secret in CREDENTIAL_FIELDS
    }
    given = [key for key in CREDENTIAL_FIELDS if key in configuration]
    for name in (*given, *(name for name, there in nested.items() if there)):
        yield Problem(
            name,
            "a credential file lies among Orthanc's configuration files: every plugin of this "
            "Orthanc can read what is in it; move it to another folder, such as "
            "/etc/orthanc-gcp/, and replace its key or token by a new one",
        )


def stray_accounts(section: Mapping[str, Any], known: list[str]) -> dict[str, Problem]:
    """Accounts that stand in the section itself, by name."""
    mandatory = set(option_names(Account)[:4])
    return {
        name: Problem(
            place_of(SECTION, name), f"an account stands here, expected it in {SECTION}.Accounts"
        )
        for name, value in section.items()
        if name not in known and isinstance(value, dict) and mandatory & set(value)
    }
