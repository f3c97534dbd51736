"""The section ``Mail``: with a mistake in it, nothing is sent by it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from orthanc_gcp.configuration.option_types import option_names, read_options
from orthanc_gcp.configuration.options import SECTION, MailOptions
from orthanc_gcp.configuration.problems import Effect, Problem, kind_of, unknown

__all__ = ["LOOPBACK", "mail"]

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""Servers that a message reaches without crossing a network."""


def mail(value: Any, problems: list[Problem]) -> MailOptions | None:
    """What is asked for; None where it is not, or where there is a mistake in it."""
    if value is None:
        return None
    path, found, options = f"{SECTION}.Mail", list[Problem](), None
    if isinstance(value, dict):
        found += unknown(value, option_names(MailOptions), path)
        values = read_options(MailOptions, value, path, found)
        if not found:
            options = MailOptions(**values)
            found += _contradictions(options, path)
    else:
        found.append(Problem(path, f"found {kind_of(value)}, expected an object"))
    problems += (replace(problem, error=True, effect=Effect.NO_MAIL) for problem in found)
    return None if found else options


def _contradictions(options: MailOptions, path: str) -> Iterator[Problem]:
    if options.encryption == "None" and options.server not in LOOPBACK:
        message = "e-mail would cross the network unencrypted, expected StartTls or Tls"
        yield Problem(f"{path}.Encryption", message)
    if (options.user is None) != (options.password_file is None):
        yield Problem(path, "expected User and PasswordFile, or neither")
