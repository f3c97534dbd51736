"""What ``orthanc-gcp query`` prints of matches, as they come, in DICOM's JSON model or in columns.

Its values are whatever somebody once wrote into an image.
"""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from orthanc_gcp.commands.formatting import count
from orthanc_gcp.commands.live.progress import ProgressLine
from orthanc_gcp.commands.printing import say

if TYPE_CHECKING:
    from orthanc_gcp.dicomweb.query import QueryResult

__all__ = ["Progress", "printer"]

_ALIGNED = 200
"""So many rows of a table are read before the first is printed, for the width of its columns."""
_WIDEST = 64
_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")  # noqa: RUF001 -- spreadsheets take these, too
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


class Printer(Protocol):
    """Prints matches."""

    def add(self, match: Mapping[str, Any]) -> None:
        """One more."""

    def flush(self) -> None:
        """Print what was not yet: no more can be had."""

    def end(self) -> None:
        """That was all."""


def printer(columns: Mapping[str, str], as_json: bool, as_csv: bool) -> Printer:
    """What prints matches as they are wanted.

    Parameters
    ----------
    columns
        Their names, and the tags of what is in them.
    """
    if as_json:
        return _Json()
    return _Csv(columns) if as_csv else _Table(columns)


class Progress(ProgressLine):
    """How far a query is, once it takes longer than a second."""

    def read(self, result: QueryResult) -> None:
        """So much was read by now."""
        self.clear()
        self.show(lambda: self.words(result))

    @staticmethod
    def words(result: QueryResult) -> str:
        """So much was read."""
        return f"{count(result.matches, 'result')} of {result.read:,} that the store has returned"


class _Json:
    """An array of objects, which has no end if not all could be read."""

    def __init__(self) -> None:
        self._any = False

    def add(self, match: Mapping[str, Any]) -> None:
        say(",\n" if self._any else "[\n", nl=False)
        say(json.dumps(match), nl=False)
        self._any = True

    def flush(self) -> None:
        if self._any:
            say("")

    def end(self) -> None:
        say("\n]" if self._any else "[]")


class _Csv:
    """RFC 4180, with a line of names; no cell is a formula to a spreadsheet."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        self._tags = list(columns.values())
        self._header = self._line(list(columns))
        self._began = False

    def add(self, match: Mapping[str, Any]) -> None:
        self._begin()
        say(self._line([_harmless(_text(match, tag)) for tag in self._tags]))

    def flush(self) -> None:
        """All was printed."""

    def end(self) -> None:
        self._begin()

    def _begin(self) -> None:
        if not self._began:
            say(self._header)
            self._began = True

    @staticmethod
    def _line(cells: Sequence[str]) -> str:
        written = io.StringIO()
        csv.writer(written, lineterminator="").writerow(cells)
        return written.getvalue()


class _Table:
    """Columns, as wide as the first rows want them."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        self._tags = list(columns.values())
        self._rows: list[list[str]] = [list(columns)]
        self._widths: list[int] | None = None
        self._matches = 0

    def add(self, match: Mapping[str, Any]) -> None:
        self._matches += 1
        self._rows.append([_one_line(_text(match, tag)) for tag in self._tags])
        if self._widths is not None or len(self._rows) > _ALIGNED:
            self.flush()

    def flush(self) -> None:
        if not self._matches:
            return
        if self._widths is None:
            columns = zip(*self._rows, strict=True)
            self._widths = [min(_WIDEST, max(map(_width, column))) for column in columns]
        for row in self._rows:
            cells = [_padded(cell, width) for cell, width in zip(row, self._widths, strict=True)]
            say("  ".join(cells).rstrip())
        self._rows.clear()

    def end(self) -> None:
        self.flush()
        say(count(self._matches, "result"), err=True)


def _text(match: Mapping[str, Any], tag: str) -> str:
    """The values of an attribute, with backslashes between; of a sequence, its JSON."""
    element = match.get(tag)
    values = element.get("Value") if isinstance(element, Mapping) else None
    if not isinstance(values, list):
        return ""
    return "\\".join(map(_value, values))


def _value(value: Any) -> str:
    if isinstance(value, str | int | float):
        return str(value)
    groups = ("Alphabetic", "Ideographic", "Phonetic")
    if isinstance(value, Mapping) and value.keys() <= set(groups):
        return "=".join(str(value.get(group, "")) for group in groups).rstrip("=")
    return "" if value is None else json.dumps(value)


def _harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula (OWASP, "CSV Injection")."""
    dangerous = _FORMULA.match(cell) and not _NUMBER.fullmatch(cell)
    return f"'{cell}" if dangerous else cell


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _width(text: str) -> int:
    """How many columns of a terminal a text takes (Unicode Standard Annex 11)."""
    return sum(
        0 if unicodedata.combining(one) else 1 + (unicodedata.east_asian_width(one) in "WF")
        for one in text
    )


def _padded(text: str, width: int) -> str:
    return text + " " * max(0, width - _width(text))
