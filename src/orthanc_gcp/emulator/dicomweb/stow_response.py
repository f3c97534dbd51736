"""The answer to a store transaction: what became of each instance, in XML or JSON.

Sources: DICOM PS3.18 annex I (store instances response module), PS3.19 annex A (Native DICOM
Model), and the private attributes of the Healthcare API's DICOM conformance statement.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from orthanc_gcp.emulator.dicom.dicom_xml import escaped
from orthanc_gcp.emulator.storage.records import InstanceKey, resource_path

__all__ = ["MAX_INSTANCES", "StowResponse"]

MAX_INSTANCES = 50_000
"""Of a transaction: what became of each is in memory until the answer has left."""
PROCESSING_FAILURE = 272
"""The FailureReason of every failure: 0110H."""


@dataclass
class StowResponse:
    """The instances of one transaction.

    ``url`` is the address of the store's DICOMweb service; ``study`` is the study of the path, or
    that of the first instance.
    """

    url: str
    study: str | None
    stored: list[tuple[str, InstanceKey]] = field(default_factory=list)
    failed: list[tuple[str, str, str]] = field(default_factory=list)

    def add_stored(self, sop_class: str, key: InstanceKey) -> None:
        self.study = self.study or key.study
        self.stored.append((sop_class, key))

    def add_failed(self, detail: str, sop_class: str = "", key: InstanceKey | None = None) -> None:
        if key is not None:
            self.study = self.study or key.study
        self.failed.append((sop_class, key.instance if key else "", detail))

    @property
    def status(self) -> int:
        return 409 if self.failed else 200

    def as_json(self) -> bytes:
        """Return the DICOM JSON Model: one object."""
        answer: dict[str, object] = {}
        if self.study:
            answer["00081190"] = _json("UR", f"{self.url}/{resource_path(self.study)}")
        if self.failed:
            answer["00081198"] = {"vr": "SQ", "Value": [_json_failure(*f) for f in self.failed]}
        if self.stored:
            items = [_json_reference(sop_class, key, self.url) for sop_class, key in self.stored]
            answer["00081199"] = {"vr": "SQ", "Value": items}
        return json.dumps(answer, separators=(",", ":")).encode()

    def as_xml(self) -> bytes:
        """Return the Native DICOM Model, as Google prints it."""
        parts = ["<NativeDicomModel>"]
        if self.study:
            url = f"{self.url}/{resource_path(self.study)}"
            parts.append(_xml("00081190", "UR", "RetrieveURL", url))
        if self.failed:
            items = [_xml_failure(*failure) for failure in self.failed]
            parts.append(_xml_sequence("00081198", "FailedSOPSequence", items))
        if self.stored:
            items = [_xml_reference(sop_class, key, self.url) for sop_class, key in self.stored]
            parts.append(_xml_sequence("00081199", "ReferencedSOPSequence", items))
        parts.append("</NativeDicomModel>")
        return "".join(parts).encode()


def _json(vr: str, value: str | int) -> dict[str, object]:
    return {"vr": vr, "Value": [value]}


def _json_reference(sop_class: str, key: InstanceKey, url: str) -> dict[str, object]:
    return {
        "00081150": _json("UI", sop_class),
        "00081155": _json("UI", key.instance),
        "00081190": _json("UR", f"{url}/{key.path}"),
    }


def _json_failure(sop_class: str, instance: str, detail: str) -> dict[str, object]:
    item: dict[str, object] = {"00081197": _json("US", PROCESSING_FAILURE)}
    if instance:
        item["00081150"] = _json("UI", sop_class)
        item["00081155"] = _json("UI", instance)
    return {**item, "00090010": _json("LO", "GOOGLE"), "00091097": _json("LT", detail)}


def _xml(tag: str, vr: str, keyword: str, value: str | int, creator: str = "") -> str:
    private = f' privateCreator="{creator}"' if creator else ""
    return (
        f'<DicomAttribute tag="{tag}" vr="{vr}" keyword="{keyword}"{private}>'
        f'<Value number="1">{escaped(value)}</Value></DicomAttribute>'
    )


def _xml_sequence(tag: str, keyword: str, items: list[str]) -> str:
    numbered = "".join(f'<Item number="{n}">{item}</Item>' for n, item in enumerate(items, 1))
    start = f'<DicomAttribute tag="{tag}" vr="SQ" keyword="{keyword}">'
    return f"{start}{numbered}</DicomAttribute>"


def _xml_reference(sop_class: str, key: InstanceKey, url: str) -> str:
    return (
        _xml("00081150", "UI", "ReferencedSOPClassUID", sop_class)
        + _xml("00081155", "UI", "ReferencedSOPInstanceUID", key.instance)
        + _xml("00081190", "UR", "RetrieveURL", f"{url}/{key.path}")
    )


def _xml_failure(sop_class: str, instance: str, detail: str) -> str:
    item = _xml("00081197", "US", "FailureReason", PROCESSING_FAILURE)
    item += _xml("00090097", "LT", "FailureDetail", detail, creator="GOOGLE")
    if instance:
        item += _xml("00081150", "UI", "ReferencedSOPClassUID", sop_class)
        item += _xml("00081155", "UI", "ReferencedSOPInstanceUID", instance)
    return item
