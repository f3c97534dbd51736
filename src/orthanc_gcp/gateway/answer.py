"""A match as a response to C-FIND has it: from the DICOM JSON model to a data set (PS3.18 F)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from orthanc_gcp.gateway.character_sets import chosen
from orthanc_gcp.gateway.request import FindRequest, Wanted

__all__ = ["made_answer", "values_of"]

_UNIQUE = {"PATIENT": 1, "STUDY": 2, "SERIES": 3, "IMAGE": 4}
_UNIQUE_KEYS = (
    ("00100020", "LO"),
    ("0020000D", "UI"),
    ("0020000E", "UI"),
    ("00080018", "UI"),
)
_CHARACTER_SET, _LEVEL = 0x00080005, 0x00080052
_RETRIEVE_AET, _AVAILABILITY = 0x00080054, 0x00080056
_OF_THE_RESPONSE = frozenset({"00080005", "00080052", "00080054", "00080056"})
_RANGES = {
    **{kind: range(2**bits) for kind, bits in (("US", 16), ("UL", 32), ("UV", 64))},
    **{kind: range(-(2**bits), 2**bits) for kind, bits in (("SS", 15), ("SL", 31), ("SV", 63))},
}
"""What integers of each representation can be (PS3.5 §6.2)."""
_FLOATS = frozenset({"FD", "FL"})
_NUMBERS = frozenset({"AT", *_FLOATS, *_RANGES})
_TEXTS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""What Specific Character Set is about (PS3.5 §6.1.2.3)."""
_BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_ONE_TEXT = frozenset({"LT", "ST", "UT", "UR"})
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")


def values_of(match: Mapping[str, Any], tag: str) -> list[Any]:
    """The values of an attribute in the DICOM JSON model; none for what is no such model."""
    element = match.get(tag)
    values = element.get("Value") if isinstance(element, Mapping) else None
    return values if isinstance(values, list) else []


def made_answer(
    match: Mapping[str, Any], request: FindRequest, called: str, more: Mapping[str, Sequence[Any]]
) -> Dataset:
    """The identifier of a response: what was asked for, and which match it is.

    Parameters
    ----------
    called
        The AE title by which the match can be retrieved.
    more
        Values of attributes that are no part of the match, by tag.
    """
    unique = dict(_UNIQUE_KEYS[: _UNIQUE[request.level]])
    wanted = {tag: Wanted(kind) for tag, kind in unique.items()} | dict(request.wanted)
    answer, texts = Dataset(), list[str]()
    for tag, one in wanted.items():
        if tag in _OF_THE_RESPONSE:
            continue
        element = {"Value": list(more[tag])} if tag in more else match.get(tag)
        _add(answer, tag, one, element, texts)
    _set(answer, _LEVEL, "CS", request.level.value)
    _set(answer, _RETRIEVE_AET, "AE", called)
    if "00080056" in request.wanted:
        said = [one for one in values_of(match, "00080056") if isinstance(one, str)]
        _set(answer, _AVAILABILITY, "CS", said[0] if said else "ONLINE")
    names = chosen(request.character_set, texts)
    _set(answer, _CHARACTER_SET, "CS", names if len(names) > 1 else names[0])
    return answer


def _add(
    answer: Dataset, tag: str, wanted: Wanted, element: Any, texts: list[str], depth: int = 0
) -> None:
    """Add an attribute, empty where a match has none, or none that can be written."""
    number, kind = int(tag, 16), wanted.representation
    if kind in _BINARY:
        return
    values = element.get("Value") if isinstance(element, Mapping) else None
    values = values if isinstance(values, list) else []
    if kind == "SQ":
        items = [_item(one, wanted, texts, depth) for one in values if isinstance(one, Mapping)]
        _set(answer, number, "SQ", Items(items))
        return
    try:
        written = [_written(kind, one) for one in values]
        _set(answer, number, kind, written[0] if len(written) == 1 else written or None)
    except (TypeError, ValueError, OverflowError):
        _set(answer, number, kind, None)
        return
    if kind in _TEXTS:
        texts.extend(one for one in written if isinstance(one, str))


def _item(item: Mapping[str, Any], wanted: Wanted, texts: list[str], depth: int) -> Dataset:
    made = Dataset()
    if depth < 8:  # deeper than the standard nests any
        for tag, one in _inside(item, wanted):
            _add(made, tag, one, item.get(tag), texts, depth + 1)
    return made


def _inside(item: Mapping[str, Any], wanted: Wanted) -> Iterator[tuple[str, Wanted]]:
    """What is wanted of an item: what the request names, or all that there is."""
    if wanted.items:
        yield from wanted.items.items()
        return
    for tag, element in item.items():
        kind = element.get("vr") if isinstance(element, Mapping) else None
        if isinstance(kind, str) and len(kind) == 2 and len(tag) == 8 and _is_hexadecimal(tag):
            yield tag, Wanted(kind)


def _is_hexadecimal(tag: str) -> bool:
    return all(one in "0123456789abcdefABCDEF" for one in tag)


def _written(kind: str, value: Any) -> Any:
    """A value of the DICOM JSON model as pydicom has it."""
    if value is None:
        if kind in _NUMBERS:  # which have no empty one among several
            raise TypeError
        return ""
    if kind == "PN":
        groups = (
            [value.get(name) or "" for name in _GROUPS] if isinstance(value, Mapping) else [value]
        )
        return _writable("=".join(map(str, groups)).rstrip("="))
    if kind in _RANGES:
        return _whole(kind, value)
    if kind in _FLOATS:
        return float(value)
    if kind == "AT":
        return _whole("UL", int(value, 16))
    if isinstance(value, Mapping | list | bool):
        raise TypeError
    text = _writable(str(value))
    if (kind not in _ONE_TEXT and "\\" in text) or not (kind in _TEXTS or text.isascii()):
        raise ValueError
    return text


def _whole(kind: str, value: Any) -> int:
    number = int(value)
    if number not in _RANGES[kind]:
        raise ValueError
    return number


def _writable(text: str) -> str:
    """A text without halves of surrogates, which JSON can have and no character set."""
    return text.encode("utf-8", "replace").decode()


def _set(answer: Dataset, tag: int, kind: str, value: Any) -> None:
    answer.add(DataElement(tag, kind, value, validation_mode=config.IGNORE))
