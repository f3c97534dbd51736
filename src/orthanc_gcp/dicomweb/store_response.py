"""What the store says became of each instance (PS3.18 §10.5.3 and annex I; Google's additions).

Nothing is taken for granted: an instance counts as stored only if the answer names it as stored,
where it was meant to be stored, and does not name it as failed too.
"""

from __future__ import annotations

import codecs
import json
import re
import xml.etree.ElementTree as ET  # see _from_xml  # nosec B405
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import unquote

from orthanc_gcp.dicomweb.store_request import Part
from orthanc_gcp.error_text import classified
from orthanc_gcp.transport.google_error import read_google_error

__all__ = ["InstanceResult", "InstanceStatus", "judge", "limit_of_answer", "names_nothing"]

_REFERENCED, _FAILED = "00081199", "00081198"
_INSTANCE, _REASON, _WARNING, _URL = "00081155", "00081197", "00081196", "00081190"
_DETAILS = ("00091097", "00090097")  # FailureDetailJSON and FailureDetail
_PADDING = " \0"
_PATH = re.compile(r"/studies/([^/?]+)/series/([^/?]+)/instances/([^/?]+)$")


class InstanceStatus(StrEnum):
    """What became of an instance."""

    STORED = "stored"
    """The store has it, with these bytes (now or already), unless it gives a warning."""
    CONFLICT = "conflict"
    """The store has another file under these UIDs, and did not replace it."""
    INVALID = "invalid"
    """The store cannot read the file."""
    BUSY = "busy"
    """The store had no room or no time for it."""
    OTHER = "other"
    """It was not stored, for a reason that is not known to this program."""
    UNACKNOWLEDGED = "unacknowledged"
    """The store did not say: it may have it or not."""


@dataclass(frozen=True)
class InstanceResult:
    """What became of an instance.

    Attributes
    ----------
    status
        In a word.
    detail
        What the store says of it, as far as it may be shown, or what is wrong with its answer: one
        line of bounded length.
    failure_reason
        The code of a failure, attribute (0008,1197).
    warned
        Whether the store has stored it with a warning, attribute (0008,1196): by PS3.18 §10.5.3 it
        may have changed or left out some of the data.
    """

    status: InstanceStatus
    detail: str = ""
    failure_reason: int | None = None
    warned: bool = False

    @property
    def is_there(self) -> bool:
        """Whether the store has something under these UIDs."""
        return self.status in (InstanceStatus.STORED, InstanceStatus.CONFLICT)


@dataclass
class _Answer:
    """An answer taken apart: stored instances with their paths, failed ones, unnamed failures.

    Those of the stored ones that come with a warning are in ``warned``, too.
    """

    stored: dict[str, tuple[str, ...] | None] = field(default_factory=dict)
    warned: set[str] = field(default_factory=set)
    failed: dict[str, InstanceResult] = field(default_factory=dict)
    unnamed: list[InstanceResult] = field(default_factory=list)


def limit_of_answer(instances: int) -> int:
    """How many bytes an answer about so many instances may have."""
    return 64 * 1024 + 1024 * instances


def names_nothing(body: bytes) -> bool:
    """Whether an answer says nothing of any instance; raises nothing, as :func:`judge`."""
    return _read(body) is None


def judge(parts: Sequence[Part], body: bytes) -> dict[str, InstanceResult]:
    """The result of each part by its SOP Instance UID.

    Raises nothing, whatever the body is: of what it does not say clearly, nothing is stored.
    """
    answer = _read(body)
    if answer is None:
        said = classified(read_google_error(body).message) or "not readable"
        words = f"the store's answer names no instances: {said}"
        missing = InstanceResult(InstanceStatus.UNACKNOWLEDGED, words)
        return {part.sop_instance_uid: missing for part in parts}
    sent = {part.sop_instance_uid for part in parts}
    foreign = [uid for uid in {**answer.stored, **answer.failed} if uid not in sent]
    results = {part.sop_instance_uid: _result(part, answer, foreign) for part in parts}
    unacknowledged = [
        uid for uid, result in results.items() if result.status is InstanceStatus.UNACKNOWLEDGED
    ]
    if unacknowledged and answer.unnamed:
        blamed = _blame(answer.unnamed, len(unacknowledged))
        results.update(dict.fromkeys(unacknowledged, blamed))
    return results


def _result(part: Part, answer: _Answer, foreign: Sequence[str]) -> InstanceResult:
    failed = answer.failed.get(part.sop_instance_uid)
    if part.sop_instance_uid not in answer.stored:
        return failed or InstanceResult(InstanceStatus.UNACKNOWLEDGED, _unnamed(foreign))
    if failed is not None:
        words = f"the store names it as stored and as failed: {failed.detail}"
        return InstanceResult(InstanceStatus.OTHER, words, failed.failure_reason)
    path = answer.stored[part.sop_instance_uid]
    if path not in (None, part.uids):
        words = "the store says that it lies in another study or series"
        return InstanceResult(InstanceStatus.UNACKNOWLEDGED, words)
    return InstanceResult(InstanceStatus.STORED, warned=part.sop_instance_uid in answer.warned)


def _unnamed(foreign: Sequence[str]) -> str:
    """What is wrong with an answer that lacks an instance.

    A file whose own UID is not the one that it was announced by is stored under its own.
    """
    if not foreign:
        return "the store's answer does not name it"
    others = "another one" if len(foreign) == 1 else f"{len(foreign)} others"
    return f"the store's answer does not name it, but {others}, which nobody sent"


def _blame(failures: list[InstanceResult], instances: int) -> InstanceResult:
    """What a file that cannot be read gets: the store fails it without knowing its UID."""
    alike = {failure.status for failure in failures}
    if len(failures) == instances and len(alike) == 1:
        return failures[0]
    words = f"the store failed {len(failures)} files without naming them: {failures[0].detail}"
    return InstanceResult(InstanceStatus.UNACKNOWLEDGED, words)


def _read(body: bytes) -> _Answer | None:
    try:
        document = _from_xml(body) if _is_xml(body) else json.loads(body)
    except (ValueError, RecursionError, ET.ParseError):
        return None
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    if not isinstance(document, dict):
        return None
    answer = _Answer()
    for item in _items(document, _REFERENCED):
        uid = _text(item, _INSTANCE)
        path = _PATH.search(_text(item, _URL))
        if uid and answer.stored.get(uid) is None:
            answer.stored[uid] = tuple(map(_segment, path.groups())) if path else None
        if _values(item, _WARNING):
            answer.warned.add(uid)
    for item in _items(document, _FAILED):
        uid, failure = _text(item, _INSTANCE), _failure(item)
        if uid:
            answer.failed[uid] = failure
        else:
            answer.unnamed.append(failure)
    return answer if answer.stored or answer.failed or answer.unnamed else None


def _segment(quoted: str) -> str:
    """A UID in a path, without padding."""
    return unquote(quoted).strip(_PADDING)


def _failure(item: Mapping[str, Any]) -> InstanceResult:
    words = next(filter(None, (_text(item, tag) for tag in _DETAILS)), "")
    text = _text(item, _REASON)
    code = int(text) if re.fullmatch(r"[0-9]{1,5}", text) else None
    return InstanceResult(_status(words.lower(), code), _detail(words, code), code)


def _detail(words: str, code: int | None) -> str:
    """What may be shown of a failure: the store's words may hold values of the instance."""
    reason = "failure reason " + ("of its own" if code is None else f"{code:04X}")
    return classified(words) or (reason if words else "")


def _status(words: str, code: int | None) -> InstanceStatus:
    """Google's words decide, else the failure reason (PS3.4 annex B, PS3.18 annex I)."""
    if "already exists" in words or "checksum mismatch" in words:
        return InstanceStatus.CONFLICT
    if words.startswith("invalid") or "not a valid dicom" in words:
        return InstanceStatus.INVALID
    if code is None or words:
        return InstanceStatus.OTHER
    if code == 0x0111:
        return InstanceStatus.CONFLICT
    if code >> 8 == 0xA7:
        return InstanceStatus.BUSY
    if code == 0x0122 or code >> 8 == 0xA9 or code >> 12 == 0xC:
        return InstanceStatus.INVALID
    return InstanceStatus.OTHER


def _items(document: Mapping[str, Any], tag: str) -> Iterator[Mapping[str, Any]]:
    return (item for item in _values(document, tag) if isinstance(item, dict))


def _text(item: Mapping[str, Any], tag: str) -> str:
    values = _values(item, tag)
    value = values[0] if values else ""
    return str(value).strip(_PADDING) if isinstance(value, str | int) else ""


def _values(item: Mapping[str, Any], tag: str) -> list[Any]:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _is_xml(body: bytes) -> bool:
    return body.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"<"


def _from_xml(body: bytes) -> dict[str, Any]:
    """The native DICOM model (PS3.19 annex A) as the DICOM JSON model.

    It is read as UTF-8, whatever it says of itself: in another encoding, entities could be defined
    by characters that are not seen for what they are.
    """
    text = body.decode("utf-8-sig")
    if "<!" in text or "\0" in text:  # NULs make the parser take it for UTF-16
        raise ValueError("entities are not needed here, and may be a trap")
    # The parser takes no notice of the declared encoding of what is text already.
    root = ET.fromstring(text)  # noqa: S314 - bounded, and without entities # nosec B314
    if _name(root) != "NativeDicomModel":
        raise ValueError("another kind of document")
    return _attributes(root, 0)


def _attributes(parent: ET.Element, depth: int) -> dict[str, Any]:
    if depth > 2:
        return {}
    return {
        child.get("tag", ""): {"Value": [_xml_value(value, depth) for value in child]}
        for child in parent
        if _name(child) == "DicomAttribute"
    }


def _xml_value(value: ET.Element, depth: int) -> Any:
    return _attributes(value, depth + 1) if _name(value) == "Item" else value.text or ""


def _name(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]
