"""Parameters of searches (PS3.18 section 10.6), and the SQL that finds what they ask for.

Exactly the keys of the Healthcare API are understood (its DICOM conformance statement, QIDO-RS);
each is compared as a whole (PS3.4 section C.2.2.2.1), apart from ranges of StudyDate (C.2.2.2.5)
and fuzzy matching of PatientName.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from orthanc_gcp.emulator.dicom.search_attributes import (
    INSTANCE,
    SERIES,
    STUDY,
    Level,
    can_be_returned,
    levels_to,
    name_of,
    resolve_tag,
    tags,
)

__all__ = [
    "STANDARD_PARAMETERS",
    "InvalidQueryError",
    "ResultPage",
    "SearchQuery",
    "parse_query",
]

MAX_OFFSET = 1_000_000
STANDARD_PARAMETERS = frozenset(
    [
        "$.xgafv",
        "access_token",
        "alt",
        "callback",
        "fields",
        "key",
        "oauth_token",
        "prettyPrint",
        "quotaUser",
        "uploadType",
        "upload_protocol",
    ]
)
"""What any request to an API of Google may have (Cloud APIs, "System parameters"); ignored here."""

_KEYS = {
    STUDY: {
        "StudyInstanceUID": "studies.uid",
        "PatientName": "studies.patient_name",
        "PatientID": "studies.patient_id",
        "AccessionNumber": "studies.accession_number",
        "ReferringPhysicianName": "studies.referring_physician",
        "StudyDate": "studies.study_date",
    },
    SERIES: {"SeriesInstanceUID": "series.uid", "Modality": "series.modality"},
    INSTANCE: {"SOPInstanceUID": "instances.uid"},
}
_TABLES = {
    STUDY: "studies",
    SERIES: "studies JOIN series ON series.study = studies.id",
    INSTANCE: (
        "studies JOIN series ON series.study = studies.id "
        "JOIN instances ON instances.series = series.id"
    ),
}
_WITH_LEVELS_ABOVE = {
    STUDY: "CROSS JOIN studies ON studies.id = chosen.id",
    SERIES: (
        "CROSS JOIN series ON series.id = chosen.id CROSS JOIN studies ON studies.id = series.study"
    ),
    INSTANCE: (
        "CROSS JOIN instances ON instances.id = chosen.id "
        "CROSS JOIN series ON series.id = instances.series "
        "CROSS JOIN studies ON studies.id = series.study"
    ),
}
_ROW = {STUDY: "studies", SERIES: "series", INSTANCE: "instances"}
# What differs between the instances of a study or series is undefined; the first one counts.
_FILE = {
    STUDY: (
        "(SELECT file FROM instances JOIN series ON series.id = instances.series "
        "WHERE series.study = studies.id ORDER BY instances.id LIMIT 1)"
    ),
    SERIES: (
        "(SELECT file FROM instances WHERE instances.series = series.id "
        "ORDER BY instances.id LIMIT 1)"
    ),
    INSTANCE: "instances.file",
}
_SUPPORTED = {STUDY: "study level", SERIES: "series level", INSTANCE: "instance or series"}
"""What the keys of a level are called when one is refused."""
_RANGE = re.compile(r"(\d{8})?-(\d{8})?")
_STUDY_DATE, _PATIENT_NAME = tags("StudyDate PatientName")


class InvalidQueryError(ValueError):
    """The search uses something that the API does not know."""


@dataclass(frozen=True)
class ResultPage:
    """Some of the matches: the first ones, or those that come after a row."""

    count: int
    after: int | None = None


@dataclass
class SearchQuery:
    """A search at a level, in a store, perhaps in a study or a series."""

    level: Level
    conditions: list[tuple[int, str]] = field(default_factory=list)
    include: set[int] = field(default_factory=set)
    include_all: bool = False
    fuzzy: bool = False
    limit: int = 0
    offset: int = 0

    def sql(
        self,
        store: int,
        study: str | None,
        series: str | None,
        page: ResultPage,
        *,
        with_file: bool,
    ) -> tuple[str, list[object]]:
        """Return the statement that finds a page of the matches, and its values.

        A row has its number, a file, the UIDs of each level, the highest first, and the attributes
        of each. Its number is what the next page comes after.
        """
        where = ["studies.store = ?"]
        values: list[object] = [store]
        for column, uid in (("studies.uid", study), ("series.uid", series)):
            if uid is not None:
                where.append(f"{column} = ?")
                values.append(uid)
        for tag, value in self.conditions:
            condition, bound = self._condition(tag, value)
            where.append(condition)
            values.extend(bound)
        row, offset = f"{_ROW[self.level]}.id", self.offset
        if page.after is not None:
            where.append(f"{row} > ?")
            values.append(page.after)
            offset = 0
        # Numbers are sorted, and not what they stand for: that may be long. CROSS JOIN keeps the
        # order (SQLite, "Manual control of query plans using CROSS JOIN").
        chosen = (
            f"SELECT {row} AS id FROM {_TABLES[self.level]} WHERE {' AND '.join(where)}"  # noqa: S608 - constants # nosec B608
            f" ORDER BY {row} LIMIT ? OFFSET ?"
        )
        statement = (
            f"SELECT chosen.id, {self._columns(with_file)} FROM ({chosen}) AS chosen"  # noqa: S608 - constants # nosec B608
            f" {_WITH_LEVELS_ABOVE[self.level]}"
        )
        return statement, [*values, page.count, offset]

    def _columns(self, with_file: bool) -> str:
        rows = [_ROW[level] for level in levels_to(self.level)]
        known = [f"{row}.{column}" for column in ("uid", "attributes") for row in rows]
        return ", ".join([_FILE[self.level] if with_file else "''", *known])

    def _condition(self, tag: int, value: str) -> tuple[str, list[object]]:
        column = _columns_by_tag(self.level)[tag]
        if tag == _STUDY_DATE and (span := _RANGE.fullmatch(value)) and value != "-":
            return f"{column} BETWEEN ? AND ?", [span[1] or "00000000", span[2] or "99999999"]
        if tag == _PATIENT_NAME and self.fuzzy:
            return f"fuzzy_match(?, {column})", [value]
        return f"{column} = ?", [value]


def parse_query(level: Level, parameters: Iterable[tuple[str, str]]) -> SearchQuery:
    """Return a search at a level from the parameters of its URL, names and values.

    Raises :class:`InvalidQueryError` for a parameter that the API does not know at this level, for
    a key that is given twice, and for a value out of bounds.
    """
    query = SearchQuery(level, limit=level.default_limit)
    keys: set[int] = set()
    for name, value in parameters:
        if name == "limit":
            query.limit = _number(name, value, level.max_limit)
        elif name == "offset":
            query.offset = _number(name, value, MAX_OFFSET)
        elif name == "fuzzymatching":
            query.fuzzy = _boolean(name, value)
        elif name == "includefield":
            _include(query, value)
        elif name not in STANDARD_PARAMETERS:
            tag = _search_key(level, name)
            if tag in keys:
                raise InvalidQueryError(f"{name_of(tag)} can have one value only")
            keys.add(tag)
            # PS3.4 C.2.2.2.3: a key without a value matches everything.
            query.conditions += [(tag, value)] if value else []
    return query


def _columns_by_tag(level: Level) -> dict[int, str]:
    return {
        tag: column
        for known in levels_to(level)
        for keyword, column in _KEYS[known].items()
        for tag in tags(keyword)
    }


def _search_key(level: Level, name: str) -> int:
    tag = _known_attribute(name)
    if tag not in _columns_by_tag(level):
        raise InvalidQueryError(f"{name_of(tag)} is not a supported {_SUPPORTED[level]} attribute")
    return tag


def _known_attribute(name: str) -> int:
    tag = resolve_tag(name)
    if tag is None:
        raise InvalidQueryError(f"unknown/unsupported QIDO attribute: {name}")
    return tag


def _include(query: SearchQuery, value: str) -> None:
    for name in filter(None, (piece.strip() for piece in value.split(","))):
        if name == "all":
            query.include_all = True
            continue
        tag = _known_attribute(name)
        if not can_be_returned(tag):
            raise InvalidQueryError(f"unknown/unsupported QIDO attribute: {name_of(tag)}")
        query.include.add(tag)


def _number(name: str, value: str, maximum: int) -> int:
    # Python itself takes no number of thousands of digits.
    digits = value.lstrip("0")[:12] or "0"
    if not (value.isascii() and value.isdigit()) or int(digits) > maximum:
        raise InvalidQueryError(f"{name} must be a number from 0 to {maximum}, not {value!r}")
    return int(digits)


def _boolean(name: str, value: str) -> bool:
    if value not in ("true", "false"):
        raise InvalidQueryError(f"{name} must be true or false, not {value!r}")
    return value == "true"
