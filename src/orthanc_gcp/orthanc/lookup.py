"""All that Orthanc has of unique keys: ``POST /tools/lookup`` of its REST API, and what is below.

A query is answered with so many matches at most (``LimitFindResults``, ``LimitFindInstances``), and
nothing says that there are more. This is not limited: Orthanc finds so what a C-MOVE asks it for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from orthanc_gcp.errors import OrthancRefusedError
from orthanc_gcp.orthanc.rest import OrthancRest

__all__ = ["LEVELS", "Answers", "below", "described", "entries_of", "looked_up"]

LEVELS = ("Patient", "Study", "Series", "Instance")
_CHILDREN = {"Patient": "Studies", "Study": "Series", "Series": "Instances"}
_TOGETHER = 100
"""So many are asked for by one exchange."""


class Answers:
    """Answers to queries at one level, which Orthanc cuts at the same length, if at any."""

    def __init__(self) -> None:
        self._longest = 1  # no limit is lower

    def is_whole(self, matches: int) -> bool:
        """Whether one with so many was not cut: it is shorter than another."""
        self._longest = max(self._longest, matches)
        return matches < self._longest


def looked_up(rest: OrthancRest, level: str, values: Sequence[str]) -> list[str]:
    """The resources of a level that have one of some values of a unique key, or one alike.

    Orthanc compares without regard to case, and to accents.

    Raises
    ------
    OrthancUnavailableError
        Orthanc does not answer.
    OrthancRefusedError
        Its answer is an error, as for a value with a wildcard.
    """
    found: dict[str, None] = {}
    for start in range(0, len(values), _TOGETHER):
        some = [value.encode() for value in values[start : start + _TOGETHER]]
        for status, answer in rest.upload_each("/tools/lookup", some):
            if status != 200 or not isinstance(answer, list):
                words = f"Orthanc answered {status} to POST /tools/lookup"
                raise OrthancRefusedError(words, status=status)
            found |= {one["ID"]: None for one in answer if one["Type"] == level}
    return list(found)


def below(rest: OrthancRest, resources: Iterable[str], above: str, level: str) -> list[str]:
    """What is at a level of some resources at another one, which may be the same.

    Raises
    ------
    OrthancUnavailableError, OrthancRefusedError
        As :func:`looked_up`.
    """
    found = list(resources)
    for one in LEVELS[LEVELS.index(above) : LEVELS.index(level)]:
        entries = described(rest, found)
        found = [child for entry in entries for child in entry.get(_CHILDREN[one], ())]
    return found


def described(rest: OrthancRest, resources: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Resources as Orthanc describes them (``/tools/bulk-content``), those that it has.

    Raises
    ------
    OrthancUnavailableError, OrthancRefusedError
        As :func:`looked_up`.
    """
    for start in range(0, len(resources), _TOGETHER):
        some = list(resources[start : start + _TOGETHER])
        question = {"Resources": some, "Metadata": False}
        yield from entries_of(rest, "/tools/bulk-content", question)


def entries_of(rest: OrthancRest, path: str, question: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What Orthanc answers to a question for several resources.

    Raises
    ------
    OrthancUnavailableError, OrthancRefusedError
        As :func:`looked_up`; also where it has no such path, as behind a proxy that hides it.
    """
    found = rest.call("POST", path, dict(question))
    if not isinstance(found, list):
        words = f"the answer to POST {path} is not what Orthanc was asked for"
        raise OrthancRefusedError(words, status=502)  # as a proxy would say
    return [one for one in found if isinstance(one, dict)]
