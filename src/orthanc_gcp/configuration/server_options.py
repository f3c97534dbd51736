"""The user's own fields of a DICOMweb server definition, checked as the DICOMweb plugin would."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orthanc_gcp.configuration.options import SECTION
from orthanc_gcp.configuration.problems import Problem, kind_of, place_of, shown

__all__ = ["server_options"]

_OPEN = ("Timeout", "ChunkedTransfers", "HasDelete", "HasWadoRsUniversalTransferSyntax")
"""Fields that hold no secret."""


def server_options(options: Any, path: str, problems: list[Problem]) -> dict[str, Any]:
    """What to add to a server definition.

    Parameters
    ----------
    options
        An entry of ``DicomWeb.Servers`` (an object, or the short form ``[url, user, password]``)
        or an account's ``Server`` object.
    path
        Where it stands, for messages.
    problems
        Takes what is wrong.

    Returns
    -------
    dict
        The fields without ``Url``, with ``HttpHeaders`` in any case; empty where one is wrong.
    """
    if isinstance(options, list):
        options = dict(zip(("Url", "Username", "Password"), options, strict=False))
    if not isinstance(options, dict):
        problems.append(Problem(path, f"found {kind_of(options)}, expected an object"))
        return {}
    wrong = list(_wrong(options, path))
    problems += wrong
    if any(problem.error for problem in wrong):
        return {}
    fields = {key: value for key, value in options.items() if key != "Url"}
    headers = options.get("HttpHeaders", {}).items()
    fields["HttpHeaders"] = {name: text for name, text in headers if not _is_token_header(name)}
    return fields


def _wrong(options: dict[str, Any], path: str) -> Iterator[Problem]:
    if "Url" in options and not path.startswith("DicomWeb."):
        message = f"ignored: the address follows from {SECTION}.BaseUrl and the store"
        yield Problem(f"{path}.Url", message, error=False)
    for key, value in options.items():
        expected = _expected(key, value)
        if expected:
            found = shown(value) if key in _OPEN else kind_of(value)
            yield Problem(place_of(path, key), f"found {found}, expected {expected}")
        elif key == "HttpHeaders" and any(map(_is_token_header, value)):
            message = "ignored: this header carries the account's access token"
            yield Problem(f"{path}.HttpHeaders.Authorization", message, error=False)


def _expected(key: str, value: Any) -> str:
    """What the DICOMweb plugin wants of this field; empty if the value is right."""
    if key == "HttpHeaders":
        right = isinstance(value, dict) and all(map(_is_header, value.items()))
        return "" if right else "an object of strings without line breaks"
    if key == "Timeout":
        right = type(value) is int and 0 <= value < 2**31
        return "" if right else "a whole number of seconds"
    return "" if isinstance(value, str | bool | int) else "a string, a boolean or a whole number"


def _is_header(header: tuple[str, Any]) -> bool:
    name, text = header
    return isinstance(text, str) and not set("\r\n") & set(name + text)


def _is_token_header(name: str) -> bool:
    return name.lower() == "authorization"
