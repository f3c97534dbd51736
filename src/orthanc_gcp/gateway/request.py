"""What a C-FIND request asks for: its identifier (DICOM PS3.4 §C.4.1.1.3)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from io import BytesIO
from typing import Any

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from orthanc_gcp.dicomweb.matching import Key, key_of
from orthanc_gcp.gateway.character_sets import UTF_8, decoded, encodings_of

__all__ = ["FindRequest", "IdentifierError", "Level", "Wanted", "read_request", "request_of"]

_LEVEL, _CHARACTER_SET, _RETRIEVE_AET = "00080052", "00080005", "00080054"
_OF_THE_QUERY = frozenset({_LEVEL, _CHARACTER_SET, _RETRIEVE_AET, "00080056", "00080201"})
"""Of the request, or of where a match is: nothing is matched by them."""
_MOST_DEPTH = 8
_NUMBERS = frozenset({"AT", "FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"})
_BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_COUNTS, _TAG = re.compile("002012[0-9A-F]{2}"), re.compile("[0-9A-Fa-f]{8}")


class IdentifierError(Exception):
    """An identifier cannot be answered (status A900); the message shows no value of it."""


class Level(StrEnum):
    """Query/Retrieve Level (0008,0052)."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"


@dataclass(frozen=True)
class Wanted:
    """An attribute that is wanted of each match.

    Attributes
    ----------
    representation
        Its value representation.
    items
        What is wanted of each item of a sequence; all of it where this is empty.
    """

    representation: str
    items: Mapping[str, Wanted] = field(default_factory=dict)


@dataclass(frozen=True)
class FindRequest:
    """An identifier, taken apart.

    Attributes
    ----------
    keys
        What has to match.
    wanted
        What each match is to have, by tag.
    character_set
        The values of Specific Character Set.
    """

    level: Level
    keys: tuple[Key, ...]
    wanted: Mapping[str, Wanted]
    character_set: tuple[str, ...]


def read_request(
    identifier: bytes, is_implicit: bool, levels: Collection[Level] = tuple(Level)
) -> FindRequest:
    """Take an identifier apart, which is encoded in Little Endian.

    Parameters
    ----------
    levels
        Those that its information model has.

    Raises
    ------
    IdentifierError
        It is none, or has a value that could match nothing.
    """
    try:
        dataset = read_dataset(BytesIO(identifier), is_implicit, True)
        raw = {f"{tag:08X}": dataset.get_item(tag) for tag in dataset.keys()}  # noqa: SIM118
        names = tuple(_ascii(raw.get(_CHARACTER_SET)).split("\\"))
        names = names if any(names) else ()
        encodings = encodings_of(names) or ["ascii"]
        level = _level(_ascii(raw.get(_LEVEL)), levels)
        found = list(_elements(dataset, encodings, ()))
        return FindRequest(level, tuple(_keys(found)), _wanted(dataset), names)
    except IdentifierError:
        raise
    except Exception as error:  # pydicom raises what its parts raise
        raise IdentifierError(f"the identifier cannot be read ({type(error).__name__})") from None


def request_of(values: Mapping[str, str]) -> FindRequest:
    """A request whose attributes are given as text, by tag; of sequences, only that they are.

    The level may be written as Orthanc takes it, too.

    Raises
    ------
    IdentifierError
        It is none, or has a value that could match nothing.
    """
    written = values.get(_LEVEL, "").strip(" \0").upper()
    level = _level("IMAGE" if written == "INSTANCE" else written, tuple(Level))
    known = {
        tag.upper(): (kind, value)
        for tag, value in values.items()
        if (kind := _known_representation(tag)) is not None
    }
    keys = [((tag,), kind, value) for tag, (kind, value) in known.items() if kind != "SQ"]
    searched = [one for one in keys if one[1] not in _BINARY]
    wanted = {tag: Wanted(kind) for tag, (kind, _) in known.items()}
    return FindRequest(level, tuple(_keys(searched)), wanted, (UTF_8,))


def _known_representation(tag: str) -> str | None:
    """That of a standard attribute; None for any other."""
    if _TAG.fullmatch(tag) is None or int(tag[4:], 16) == 0 or int(tag[:4], 16) % 2:
        return None
    try:
        return dictionary_VR(int(tag, 16)).partition(" ")[0]
    except KeyError:
        return None


def _level(written: str, levels: Collection[Level]) -> Level:
    for one in levels:
        if one == written:
            return one
    expected = ", ".join(levels)
    raise IdentifierError(f"expected a Query/Retrieve Level of {expected}"[:64])


def _keys(found: Iterable[tuple[tuple[str, ...], str, str]]) -> Iterator[Key]:
    for path, representation, value in found:
        bare = value.strip(" \0")
        if not bare.strip("*") or path[0] in _OF_THE_QUERY or _COUNTS.fullmatch(path[-1]):
            continue
        name = ".".join(keyword_for_tag(int(tag, 16)) or tag for tag in path)
        try:
            known = key_of(".".join(path), value)
        except ValueError:
            raise IdentifierError(f"{name} has a value that nothing can match"[:64]) from None
        yield Key(path, representation or known.representation, value, name)


def _elements(
    dataset: Dataset, encodings: list[str], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Path, value representation and value of each attribute that has one."""
    if len(path) > _MOST_DEPTH:
        raise IdentifierError("sequences are nested too deeply")
    for tag in dataset.keys():  # noqa: SIM118 -- iterating would convert each value
        own = (*path, f"{tag:08X}")
        if tag.element == 0 or tag.is_private:
            continue
        representation = _representation(dataset, tag)
        if representation == "SQ":
            for item in dataset[tag].value or ():
                yield from _elements(item, encodings, own)
        elif representation not in _BINARY:
            yield own, representation, _text(dataset, tag, representation, encodings)


def _wanted(dataset: Dataset, depth: int = 0) -> dict[str, Wanted]:
    wanted = {}
    for tag in dataset.keys():  # noqa: SIM118
        if tag.element == 0 or tag.is_private or depth > _MOST_DEPTH:
            continue
        representation = _representation(dataset, tag)
        items: dict[str, Wanted] = {}
        if representation == "SQ":
            for item in dataset[tag].value or ():
                items |= _wanted(item, depth + 1)
        wanted[f"{tag:08X}"] = Wanted(representation, items)
    return wanted


def _representation(dataset: Dataset, tag: Any) -> str:
    """As the standard has it, or else as the request says."""
    try:
        return dictionary_VR(tag).partition(" ")[0]
    except KeyError:
        return str(dataset.get_item(tag).VR or "UN")


def _text(dataset: Dataset, tag: Any, representation: str, encodings: list[str]) -> str:
    element = dataset.get_item(tag)
    if representation not in _NUMBERS and isinstance(element, RawDataElement):
        return decoded(element.value or b"", representation, encodings)
    value = dataset[tag].value
    values = value if isinstance(value, list | tuple) else [value]
    return "\\".join(str(one) for one in values if one is not None)


def _ascii(element: Any) -> str:
    """A value of few characters, without padding."""
    value = getattr(element, "value", None) or b""
    if isinstance(value, bytes):
        return value.decode("ascii").strip(" \0")
    return "\\".join([value] if isinstance(value, str) else map(str, value)).strip(" \0")
