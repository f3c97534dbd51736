"""What Orthanc's own index has that matches a query: ``/tools/find`` of its REST API.

Orthanc compares as its C-FIND does. From version 1.11 on, it gives the attributes that are asked
for (``RequestedTags``); of an older one, what a match is part of is read for what is lacking, and
then one of the instances that it has.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from orthanc_gcp.configuration import Settings
from orthanc_gcp.errors import OrthancRefusedError
from orthanc_gcp.orthanc.lookup import LEVELS, below, described, entries_of, looked_up
from orthanc_gcp.orthanc.rest import OrthancRest

__all__ = ["NO_LIMITS", "FindLimits", "FoundResource", "find", "find_all", "find_limits"]

_PARENTS = {
    "Instance": ("ParentSeries", "/series/"),
    "Series": ("ParentStudy", "/studies/"),
    "Study": ("ParentPatient", "/patients/"),
}
_CHILDREN = {
    "Patient": ("Studies", "/studies/"),
    "Study": ("Series", "/series/"),
    "Series": ("Instances", "/instances/"),
}
_ACCESSION_NUMBER, _MOST_STUDIES = "00080050", 1000
_UNIQUE = {
    "00080018": "Instance",
    "0020000E": "Series",
    "0020000D": "Study",
    _ACCESSION_NUMBER: "Study",
    "00100020": "Patient",
}
"""The level of which each key names something; those come first that name least."""
_PADDING = " \0"
_TOGETHER = 100
"""So many matches are completed by one exchange."""


@dataclass(frozen=True)
class FoundResource:
    """A match.

    Attributes
    ----------
    orthanc_id
        By which Orthanc knows it.
    attributes
        Tag, eight hexadecimal digits in upper case -> its values as text, backslashes between.
    """

    orthanc_id: str
    attributes: Mapping[str, str]


@dataclass(frozen=True)
class FindLimits:
    """How many matches Orthanc gives to one query; 0 for all.

    Orthanc 1.12.7 gives so many, and the next ones to the next question (``Since``); 1.10.1 gives
    one more at first, and no next ones.

    Attributes
    ----------
    results
        ``LimitFindResults``: patients, studies and series.
    instances
        ``LimitFindInstances``.
    """

    results: int = 0
    instances: int = 0

    def is_reached(self, level: str, matches: int) -> bool:
        """Whether an answer with so many matches may have been cut."""
        return 0 < self._of(level) <= matches

    def is_passed(self, level: str, matches: int) -> bool:
        """Whether it may have been cut, and nothing more is to be had."""
        return 0 < self._of(level) < matches

    def have_cut(
        self, rest: OrthancRest, level: str, query: Mapping[str, str], matches: int
    ) -> bool:
        """Whether there may be more than so many that match, which are all that was given.

        Raises
        ------
        OrthancUnavailableError, OrthancRefusedError
            As :func:`find`.
        """
        if not self.is_reached(level, matches):
            return False
        return self.is_passed(level, matches) or any(
            find(rest, level, query, most=1, since=matches)
        )

    def _of(self, level: str) -> int:
        return self.instances if level == "Instance" else self.results


NO_LIMITS = FindLimits()


def find_limits(settings: Settings) -> FindLimits:
    """Those of the Orthanc that has a configuration."""
    options = settings.orthanc
    return FindLimits(options.limit_find_results, options.limit_find_instances)


def find(
    rest: OrthancRest,
    level: str,
    query: Mapping[str, str],
    wanted: Collection[str] = (),
    *,
    most: int,
    since: int = 0,
) -> Iterator[FoundResource]:
    """What matches, at most so many; in names of persons, the case of letters does not count.

    Parameters
    ----------
    level
        ``Patient``, ``Study``, ``Series`` or ``Instance``.
    query
        What has to match, by tag.
    wanted
        The tags of what is wanted of each match.
    since
        So many matches are left out, which are known by then.

    Raises
    ------
    OrthancUnavailableError
        Orthanc does not answer.
    OrthancRefusedError
        Its answer is an error.
    """
    body = {
        "Level": level,
        "Expand": True,
        "Since": since,
        "Limit": most,
        "CaseSensitive": False,
        "Query": {_written(tag): value for tag, value in query.items()},
        "Full": True,
        "RequestedTags": [_written(tag) for tag in wanted],
    }
    return _found(rest, entries_of(rest, "/tools/find", body), wanted)


def find_all(
    rest: OrthancRest,
    level: str,
    query: Mapping[str, str],
    wanted: Collection[str] = (),
    limits: FindLimits = NO_LIMITS,
) -> Iterator[FoundResource]:
    """All that unique keys name, however little Orthanc answers to one query.

    Parameters
    ----------
    level, wanted
        As :func:`find`.
    query
        Unique keys at this level and above it, by tag: UIDs, Accession Number, Patient ID.
    limits
        Those of Orthanc, which counts an accession number as a query.

    Raises
    ------
    ValueError
        There is none.
    OrthancUnavailableError, OrthancRefusedError
        As :func:`find`; also where more studies may have an accession number than Orthanc gives.
    """
    keys = {tag: [one.strip(_PADDING) for one in text.split("\\")] for tag, text in query.items()}
    tag = next((one for one in _UNIQUE if one in keys and _is_above(one, level)), "")
    if not tag:
        raise ValueError(query)
    named = _named(rest, tag, query[tag], limits)
    entries = described(rest, below(rest, named, _UNIQUE[tag], level))
    for one in _found(rest, entries, {*wanted, *keys}):
        values = {tag: one.attributes.get(tag, "").strip(_PADDING) for tag in keys}
        if all(value in keys[tag] for tag, value in values.items()):
            yield one


def _named(rest: OrthancRest, tag: str, value: str, limits: FindLimits) -> list[str]:
    """What has a key, or one alike."""
    if tag == _ACCESSION_NUMBER:
        return _studies(rest, value, limits)
    values = [one.strip(_PADDING) for one in value.split("\\")]
    return looked_up(rest, _UNIQUE[tag], list(filter(None, values)))


def _studies(rest: OrthancRest, number: str, limits: FindLimits) -> list[str]:
    """What has an accession number, or one alike, by which Orthanc looks nothing up."""
    found: list[str] = []
    while True:
        query = {_ACCESSION_NUMBER: number}
        page = [
            one.orthanc_id
            for one in find(rest, "Study", query, most=_MOST_STUDIES, since=len(found))
        ]
        found += page
        if limits.is_passed("Study", len(page)) or len(found) >= _MOST_STUDIES:
            words = "more studies may have this accession number than LimitFindResults lets it find"
            raise OrthancRefusedError(words)
        if not limits.is_reached("Study", len(page)):
            return found


def _is_above(tag: str, level: str) -> bool:
    return LEVELS.index(_UNIQUE[tag]) <= LEVELS.index(level)


def _found(
    rest: OrthancRest, entries: Iterable[dict[str, Any]], wanted: Collection[str]
) -> Iterator[FoundResource]:
    above: dict[str, dict[str, Any]] = {}
    each = iter(entries)
    while some := list(islice(each, _TOGETHER)):
        for entry, attributes in zip(some, _completed(rest, some, wanted, above), strict=True):
            yield FoundResource(str(entry.get("ID", "")), attributes)


def _completed(
    rest: OrthancRest,
    entries: Sequence[dict[str, Any]],
    wanted: Collection[str],
    above: dict[str, dict[str, Any]],
) -> list[dict[str, str]]:
    """The attributes of each; what was read of resources above them is in ``above``."""
    known = [_attributes(entry) for entry in entries]
    lacking = [
        number
        for number, entry in enumerate(entries)
        if "RequestedTags" not in entry and not set(wanted) <= known[number].keys()
    ]
    there = {number: entries[number] for number in lacking}
    while there := _step(rest, there, _PARENTS, above):
        for number, entry in there.items():
            known[number] = {**_attributes(entry), **known[number]}
    there = {one: entries[one] for one in lacking if not set(wanted) <= known[one].keys()}
    while below := _step(rest, there, _CHILDREN, {}):
        there |= below
    paths = [f"/instances/{entry.get('ID', '-')}/tags" for entry in there.values()]
    for number, text in zip(there, rest.texts(paths), strict=True):
        known[number] = {**_texts(_object(text)), **known[number]}
    return known


def _step(
    rest: OrthancRest,
    there: Mapping[int, Mapping[str, Any]],
    ways: Mapping[str, tuple[str, str]],
    read: dict[str, dict[str, Any]],
) -> dict[int, dict[str, Any]]:
    """The parent, or the first child, of each resource that has one."""
    paths: dict[int, str] = {}
    for number, entry in there.items():
        name, route = ways.get(str(entry.get("Type")), ("", ""))
        related = entry.get(name)
        one = related[0] if isinstance(related, list) and related else related
        if isinstance(one, str) and one:
            paths[number] = route + one
    fresh = [path for path in dict.fromkeys(paths.values()) if path not in read]
    read |= {path: _object(text) for path, text in zip(fresh, rest.texts(fresh), strict=True)}
    return {number: read[path] for number, path in paths.items()}


def _object(text: Any) -> dict[str, Any]:
    """An answer; nothing for what was deleted meanwhile."""
    try:
        found = json.loads(text) if isinstance(text, str) else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _attributes(entry: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in ("PatientMainDicomTags", "MainDicomTags", "RequestedTags"):
        tags = entry.get(part)
        found |= _texts(tags if isinstance(tags, dict) else {})
    return found


def _texts(tags: Mapping[str, Any]) -> dict[str, str]:
    """Values as text: as Orthanc's ``Full`` format has them, or by names, as a resource has."""
    found = {}
    for tag, element in tags.items():
        value = element.get("Value") if isinstance(element, dict) else element
        if isinstance(value, str):
            found[_OF_PARENTS.get(tag, tag.replace(",", "").upper())] = value
    return found


_OF_PARENTS = {
    "PatientID": "00100020",
    "PatientName": "00100010",
    "PatientBirthDate": "00100030",
    "PatientSex": "00100040",
    "StudyInstanceUID": "0020000D",
    "StudyDate": "00080020",
    "StudyTime": "00080030",
    "StudyID": "00200010",
    "StudyDescription": "00081030",
    "AccessionNumber": "00080050",
    "ReferringPhysicianName": "00080090",
    "SeriesInstanceUID": "0020000E",
    "SeriesNumber": "00200011",
    "SeriesDescription": "0008103E",
    "Modality": "00080060",
}
"""What is read of a resource itself has names in the place of tags."""


def _written(tag: str) -> str:
    return f"{tag[:4]},{tag[4:]}".lower()
