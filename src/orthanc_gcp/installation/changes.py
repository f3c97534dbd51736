"""Changes of options, put into the files that have them, and proved before anything is written."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orthanc_gcp.errors import ConfigurationError, InstallationError
from orthanc_gcp.installation import json_text
from orthanc_gcp.installation.configuration_files import ConfigurationFiles

__all__ = ["Change", "applied", "prove", "with_changes"]


@dataclass(frozen=True)
class Change:
    """A new value of an option.

    Attributes
    ----------
    path
        The option, such as ``("Python", "Path")``.
    value
        What it is to be.
    raw
        How that is written, where it has comments or several lines.
    removed
        Elements of a list that are there, and not in its new value.
    """

    path: tuple[str, ...]
    value: Any
    raw: str = ""
    removed: tuple[Any, ...] = ()

    def __str__(self) -> str:
        shown = "" if self.raw else f" = {json.dumps(self.value)}"
        return ".".join(self.path) + shown

    def applied(self, text: str) -> str:
        """A file's text with the new value.

        Raises
        ------
        ConfigurationError
            The text cannot be divided into options.
        """
        text = json_text.remove_elements(text, self.path, list(self.removed))
        added = self._added(text)
        if added:
            return json_text.add_elements(text, self.path, added)
        return json_text.set_value(text, self.path, self.raw or json.dumps(self.value))

    def _added(self, text: str) -> list[Any]:
        """What is new behind the elements of a list that is there, whose layout stays then."""
        present = json_text.elements(text, self.path)
        if not present or not isinstance(self.value, list):
            return []
        return self.value[len(present) :]


def applied(text: str, changes: Iterable[Change]) -> str:
    """A file's text with new values; raises as :meth:`Change.applied` does."""
    for change in changes:
        text = change.applied(text)
    return text


def with_changes(options: Mapping[str, Any], changes: Iterable[Change]) -> dict[str, Any]:
    """What a configuration says after the changes."""
    whole = copy.deepcopy(dict(options))
    for change in changes:
        place = whole
        for name in change.path[:-1]:
            place = place[name]
        place[change.path[-1]] = change.value
    return whole


def prove(
    files: ConfigurationFiles, texts: Mapping[Path, str], expected: Mapping[str, Any]
) -> None:
    """See that Orthanc would read what is meant, and nothing else would be different.

    Parameters
    ----------
    texts
        The files that are to be written, with what they will say.
    expected
        The whole configuration that Orthanc is to read then.

    Raises
    ------
    InstallationError
        It would not.
    """
    by_hand = "nothing was changed; write it by hand"
    try:
        found = files.would_say({**files.texts, **texts})
    except ConfigurationError:
        found = {}
    if found != expected:
        names = {name for name in {*found, *expected} if found.get(name) != expected.get(name)}
        where = ", ".join(str(file) for file in texts)
        what = ", ".join(sorted(names))
        raise InstallationError(f"{where} cannot be edited so that {what} is right: {by_hand}")
