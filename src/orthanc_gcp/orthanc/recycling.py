"""What Orthanc deletes by itself when it is full, and how patients are kept from it.

At ``MaximumPatientCount`` or ``MaximumStorageSize`` Orthanc deletes the patients that received
nothing for longest, with their changes, until there is room; never one that is protected
(``/patients/{id}/protected``), nor the one that it is receiving. When all others are protected, it
refuses what it receives ("The file storage is full"). Seen on Orthanc 1.10.1, 1.12.7 and 1.13.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from orthanc_gcp.errors import OrthancRefusedError
from orthanc_gcp.orthanc.lookup import described
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.orthanc.versions import parse_version
from orthanc_gcp.redaction import printable

__all__ = ["Recycling", "StorageLimits", "mode_of"]

_MEBIBYTE = 1024 * 1024
_RECYCLE = "Recycle"
_REJECTS_FROM = (1, 11, 2)
"""The first version that has ``MaximumStorageMode`` (Orthanc's NEWS)."""


@dataclass(frozen=True)
class StorageLimits:
    """When Orthanc is full, and what it does then; 0 is no limit.

    Attributes
    ----------
    mebibytes
        ``MaximumStorageSize``.
    patients
        ``MaximumPatientCount``.
    mode
        ``MaximumStorageMode``.
    """

    mebibytes: int = 0
    patients: int = 0
    mode: str = _RECYCLE

    @property
    def recycles(self) -> bool:
        """Whether Orthanc may delete something by itself."""
        return self.mode.lower() == _RECYCLE.lower() and (self.mebibytes > 0 or self.patients > 0)

    def has_room(self, percent: int, patients: int, size_bytes: int) -> bool:
        """Whether so many patients, of so many bytes, may be protected."""
        few = not self.patients or patients * 100 <= self.patients * percent
        return few and (
            not self.mebibytes or size_bytes * 100 <= self.mebibytes * _MEBIBYTE * percent
        )


def mode_of(version: tuple[int, ...] | None, configured: str) -> str:
    """What an Orthanc does when it is full; one of before the option recycles (seen on 1.10.1).

    Parameters
    ----------
    version
        None where it is not known.
    configured
        ``MaximumStorageMode``.
    """
    return configured if version is None or version >= _REJECTS_FROM else _RECYCLE


class Recycling:
    """The storage of one Orthanc, over its REST API.

    Every method raises OrthancUnavailableError when Orthanc does not answer, and
    OrthancRefusedError when it does not let us.
    """

    def __init__(self, orthanc: OrthancRest) -> None:
        self._orthanc = orthanc

    def limits(self, configured: StorageLimits) -> StorageLimits:
        """What ``/system`` says of its limits, and what is configured where it does not say it.

        It says size and mode from 1.11.3 on, the number of patients from 1.12.4 on (Orthanc's
        NEWS).
        """
        system = self._orthanc.call("GET", "/system")
        said = system if isinstance(system, dict) else {}
        mode = mode_of(parse_version(str(said.get("Version", ""))), configured.mode)
        return StorageLimits(
            _whole(said.get("MaximumStorageSize", configured.mebibytes)),
            _whole(said.get("MaximumPatientCount", configured.patients)),
            str(said.get("MaximumStorageMode", mode)),
        )

    def patients(self) -> list[str]:
        """All patients, by Orthanc's identifiers."""
        found = self._orthanc.call("GET", "/patients")
        return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []

    def is_protected(self, patient: str) -> bool | None:
        """Whether a patient is protected; None where Orthanc does not have it."""
        answer = self._call("GET", patient, "protected")
        return None if answer is None else answer == 1

    def protect(self, patient: str, *, protected: bool) -> bool:
        """Protect a patient, or do not any more; whether Orthanc has it."""
        return self._call("PUT", patient, "protected", int(protected)) is not None

    def size_bytes(self, patient: str) -> int | None:
        """How much of its storage a patient takes; None where Orthanc does not have it.

        Orthanc counts it instance by instance, which may take longer than it may take to answer.
        """
        with self._orthanc.asking_for_some():
            found = self._call("GET", patient, "statistics")
        return None if found is None else int(found["DiskSize"])

    def _call(self, method: str, patient: str, what: str, body: int | None = None) -> Any:
        """The answer about a patient; None where Orthanc does not describe it either.

        A proxy before it may let through other paths, and say of these that there is nothing.
        """
        try:
            path = f"/patients/{quote(patient, safe='')}/{what}"
            answer = self._orthanc.call(method, path, body)
        except OrthancRefusedError as error:
            if error.status != 400:  # "Parameter out of range": there is no such patient
                raise
            answer = None
        if answer is None and any(described(self._orthanc, [patient])):
            words = f"{printable(self._orthanc.url)} has no {what} of a patient that it has"
            raise OrthancRefusedError(words, status=404)
        return answer


def _whole(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0
