"""The MD5 that Orthanc has of the files that it received."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orthanc_gcp.errors import OrthancRefusedError
from orthanc_gcp.orthanc.rest import OrthancRest

__all__ = ["Attachment", "Checksums"]

_PORTION = 200
_MD5 = re.compile("[0-9a-f]{32}")
_OF_NOTHING = "d41d8cd98f00b204e9800998ecf8427e"
"""What Orthanc 1.10.1 says of files of 2 GiB and more; no file of DICOM is empty."""
_DICOM = 1
"""The number of the attachment that is the DICOM file, in Orthanc's ``ContentType``."""


@dataclass(frozen=True)
class Attachment:
    """The file of an instance, as Orthanc describes it; each is empty where it does not say."""

    uuid: str
    md5: str


class Checksums:
    """Orthanc computes an MD5 of each file while it receives it, compressed or not.

    With its option ``StoreMD5ForAttachments`` off it has none. From 1.12.5 on, ``/tools/find`` has
    those of many instances; before, each is asked for.
    """

    def __init__(self, orthanc: OrthancRest) -> None:
        self._orthanc = orthanc
        self._finds = True

    def md5s(self, instances: Mapping[str, str]) -> dict[str, str | OrthancRefusedError]:
        """The MD5 of each instance that has one, in hexadecimal digits, before any compression.

        Of an instance that Orthanc refuses to say it of, its error in place of it.

        Parameters
        ----------
        instances
            Orthanc's identifier -> SOP Instance UID.

        Raises
        ------
        OrthancUnavailableError
            Orthanc is away.
        """
        found: dict[str, str | OrthancRefusedError] = {}
        if self._finds and len(instances) > 1:
            wanted = list(instances.items())
            for start in range(0, len(wanted), _PORTION):
                found |= self._find(dict(wanted[start : start + _PORTION]))
        rest = [identifier for identifier in instances if identifier not in found]
        texts = self._orthanc.texts(list(map(_path, rest)))
        for identifier, text in zip(rest, texts, strict=True):
            md5 = text if isinstance(text, OrthancRefusedError) else _valid(text)
            if md5:
                found[identifier] = md5
        return found

    def attachment(self, identifier: str) -> Attachment | None:
        """What Orthanc has now as the file of an instance; None without it.

        Raises
        ------
        OrthancError
            Orthanc is away, or refuses.
        """
        info = self._orthanc.call("GET", f"/instances/{identifier}/attachments/dicom/info")
        return None if info is None else _attachment(info)

    def _find(self, instances: Mapping[str, str]) -> dict[str, str]:
        question = {
            "Level": "Instance",
            "Query": {"SOPInstanceUID": "\\".join(instances.values())},
            "ResponseContent": ["Attachments"],
            "CaseSensitive": True,
            "Limit": 2 * _PORTION,
        }
        try:
            with self._orthanc.asking_for_some():
                answer = self._orthanc.call("POST", "/tools/find", question)
        except OrthancRefusedError:  # a UID that is none, it may be: each is asked for
            return {}
        entries = answer if isinstance(answer, list) else []
        # Before 1.12.5 it ignores what is asked for.
        self._finds = all(
            isinstance(entry, dict) and isinstance(entry.get("Attachments"), list)
            for entry in entries
        )
        if not self._finds:
            return {}
        files = {
            entry.get("ID"): _attachment(file)
            for entry in entries
            for file in entry["Attachments"]
            if isinstance(file, dict) and file.get("ContentType") == _DICOM
        }
        return {name: files[name].md5 for name in instances if name in files and files[name].md5}


def _path(identifier: str) -> str:
    return f"/instances/{identifier}/attachments/dicom/md5"


def _attachment(info: Any) -> Attachment:
    values = info if isinstance(info, dict) else {}
    uuid = values.get("Uuid")
    return Attachment(uuid if isinstance(uuid, str) else "", _valid(values.get("UncompressedMD5")))


def _valid(md5: Any) -> str:
    known = isinstance(md5, str) and _MD5.fullmatch(md5) and md5 != _OF_NOTHING
    return md5 if known else ""
