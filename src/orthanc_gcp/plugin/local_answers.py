"""C-FIND and C-MOVE of what Orthanc holds, while the gateway does not run: as it would itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from orthanc_gcp.errors import OrthancRefusedError
from orthanc_gcp.orthanc.find import NO_LIMITS, FindLimits, find, find_all
from orthanc_gcp.orthanc.modalities import modality_of, store_at
from orthanc_gcp.orthanc.rest import OrthancRest

__all__ = ["local_answers", "send_local"]

MOST_ANSWERS = 20_000
SENT_WITHIN = 3600.0
_LEVELS = {
    "PATIENT": "Patient",
    "STUDY": "Study",
    "SERIES": "Series",
    "IMAGE": "Instance",
    "INSTANCE": "Instance",
}
_LEVEL, _CHARACTER_SET, _RETRIEVE_AET = "00080052", "00080005", "00080054"
_OF_THE_RESPONSE = frozenset({_LEVEL, _CHARACTER_SET, _RETRIEVE_AET, "00080056"})
_COUNTS = "002012"
_UNIQUE = {
    "PatientID": "00100020",
    "AccessionNumber": "00080050",
    "StudyInstanceUID": "0020000D",
    "SeriesInstanceUID": "0020000E",
    "SOPInstanceUID": "00080018",
}


def local_answers(
    rest: OrthancRest, orthanc: Any, query: Mapping[str, str], called: str
) -> Iterator[bytes]:
    """The identifiers of responses to a C-FIND, each a DICOM file.

    Parameters
    ----------
    orthanc
        The module that Orthanc's Python plugin provides.
    query
        Tag, eight hexadecimal digits -> what it is to match.

    Raises
    ------
    OrthancUnavailableError
        Orthanc does not answer.
    OrthancRefusedError
        Its answer is an error, or there is no such level.
    """
    level = query.get(_LEVEL, "").strip(" \0").upper()
    if level not in _LEVELS:
        raise OrthancRefusedError("there is no such Query/Retrieve Level")
    wanted = [tag for tag in query if tag not in _OF_THE_RESPONSE and _is_plain(tag)]
    keys = {
        tag: value
        for tag, value in query.items()
        if tag in wanted and value.strip(" \0*") and not tag.startswith(_COUNTS)
    }
    of_response = {_LEVEL: level, _RETRIEVE_AET: called.strip(), _CHARACTER_SET: "ISO_IR 192"}
    for one in find(rest, _LEVELS[level], keys, wanted, most=MOST_ANSWERS):
        found = {tag: one.attributes[tag] for tag in wanted if tag in one.attributes}
        written = {f"{tag[:4]},{tag[4:]}": text for tag, text in (found | of_response).items()}
        yield bytes(orthanc.CreateDicom(json.dumps(written), None, orthanc.CreateDicomFlags.NONE))


def _is_plain(tag: str) -> bool:
    """Whether it is of the standard, and neither the length of a group nor pixel data."""
    return int(tag[:4], 16) % 2 == 0 and not tag.endswith("0000") and not tag.startswith("7FE0")


def send_local(
    rest: OrthancRest,
    request: Mapping[str, Any],
    plain: Callable[[str], str],
    limits: FindLimits = NO_LIMITS,
) -> None:
    """Send what a C-MOVE asks for, as far as Orthanc holds it, and wait for the end.

    Parameters
    ----------
    request
        As the Python plugin gives it to a callback.
    limits
        Those of Orthanc.

    Raises
    ------
    OrthancUnavailableError
        Orthanc does not answer.
    OrthancRefusedError
        Its answer is an error, there is no such modality, more studies may have an accession number
        than Orthanc gives, or not all was sent.
    """
    there = modality_of(rest, request["TargetAET"], plain)
    if there is None:
        raise OrthancRefusedError("the destination of a C-MOVE is no modality")
    keys = {tag: request[name] for name, tag in _UNIQUE.items() if request.get(name)}
    if not keys or any("*" in value or "?" in value for value in keys.values()):
        raise OrthancRefusedError("a C-MOVE needs a unique key, and takes no wildcards")
    instances = [one.orthanc_id for one in find_all(rest, "Instance", keys, (), limits)]
    if instances:
        originator = (request["OriginatorAET"], request["OriginatorID"])
        store_at(rest, there[0], instances, originator, SENT_WITHIN)
