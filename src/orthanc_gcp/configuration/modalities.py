"""The DICOM modalities that Orthanc knows, and the AE titles that the gateway is called by."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Modality", "called_expected", "is_aet", "modalities_expected", "modalities_of"]

_AET = re.compile(r"(?! *$)[ -\[\]-~]{1,16}")
"""Printable ASCII without a backslash, and not only blanks (DICOM PS3.5 §6.2, AE)."""
_ALLOWED = {
    "AllowEcho": "allow_echo",
    "AllowFind": "allow_find",
    "AllowGet": "allow_get",
    "AllowMove": "allow_move",
    "AllowStore": "allow_store",
    "AllowStorageCommitment": "allow_storage_commitment",
}
_LONGEST_TIMEOUT = 86400
_ENTRY = (
    "an object of modalities, each [AET, host, port] or an object with AET, Host and Port, as "
    "Orthanc has them"
)
_CALLED = "an object with an account for each AE title, of 16 printable ASCII characters at most"


@dataclass(frozen=True)
class Modality:
    """An entry of Orthanc's ``DicomModalities``.

    Attributes
    ----------
    aet
        Its AE title, without padding.
    host
        Where it is: an address, or a name.
    allow_echo, allow_find, allow_get, allow_move, allow_store, allow_storage_commitment
        Whether it may ask with C-ECHO, C-FIND, C-GET, C-MOVE, C-STORE, and for storage commitment.
    use_dicom_tls
        Whether it is connected to by TLS.
    local_aet
        By which AE title it is called upon; empty for ``DicomAet``.
    timeout
        Seconds that it may take; 0 for ``DicomScuTimeout``.
    """

    aet: str
    host: str
    port: int
    allow_echo: bool = True
    allow_find: bool = True
    allow_get: bool = True
    allow_move: bool = True
    allow_store: bool = True
    allow_storage_commitment: bool = True
    use_dicom_tls: bool = False
    local_aet: str = ""
    timeout: int = 0


def modalities_expected(value: Any) -> str:
    """What is expected in place of a value of ``DicomModalities``; empty if it is right."""
    whole = isinstance(value, dict)
    return "" if whole and all(map(_modality, value.values())) else _ENTRY


def modalities_of(value: Mapping[str, Any]) -> tuple[Modality, ...]:
    """The modalities of a right value."""
    return tuple(filter(None, map(_modality, value.values())))


def called_expected(value: Any) -> str:
    """What is expected in place of the gateway's AE titles; empty if it is right."""
    right = isinstance(value, dict) and bool(value)
    return (
        ""
        if right and all(is_aet(key) and isinstance(one, str) for key, one in value.items())
        else _CALLED
    )


def is_aet(value: Any) -> bool:
    """Whether a value can be an AE title."""
    return isinstance(value, str) and _AET.fullmatch(value) is not None


def _modality(entry: Any) -> Modality | None:
    """An entry as Orthanc takes it: a list of three or four, or an object."""
    if isinstance(entry, list) and 3 <= len(entry) <= 4:
        entry = dict(zip(("AET", "Host", "Port"), entry[:3], strict=True))
    if not isinstance(entry, dict):
        return None
    aet, host, port = entry.get("AET"), entry.get("Host"), _port(entry.get("Port"))
    allowed = {name: entry.get(option, True) for option, name in _ALLOWED.items()}
    tls, local = entry.get("UseDicomTls", False), entry.get("LocalAet", "")
    timeout = entry.get("Timeout", 0)
    wrong = not all(isinstance(one, bool) for one in (*allowed.values(), tls))
    wrong |= local != "" and not is_aet(local)
    wrong |= type(timeout) is not int or not 0 <= timeout <= _LONGEST_TIMEOUT
    if not is_aet(aet) or not isinstance(host, str) or port is None or wrong:
        return None
    return Modality(
        str(aet).strip(),
        host,
        port,
        use_dicom_tls=tls,
        local_aet=local.strip(),
        timeout=timeout,
        **allowed,
    )


def _port(value: Any) -> int | None:
    if isinstance(value, str) and re.fullmatch("[0-9]{1,5}", value):
        value = int(value)
    return value if type(value) is int and 0 < value < 65536 else None
