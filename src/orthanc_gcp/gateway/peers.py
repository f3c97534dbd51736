"""Who may connect and ask, and which account it is for: as Orthanc's own options say."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv6Address, ip_address

from orthanc_gcp.configuration import Globals, Modality

__all__ = ["Peers", "Rejection", "printable_aet"]


class Rejection(IntEnum):
    """Why an association is rejected: the reason of the service-user (PS3.8 §9.3.4)."""

    CALLING_AET = 3
    CALLED_AET = 7


@dataclass(frozen=True)
class Peers:
    """What the options of Orthanc say of those that connect.

    Attributes
    ----------
    aets
        The account of each AE title that the gateway is called by.
    """

    orthanc: Globals
    aets: dict[str, str]

    def account(self, called: str) -> str | None:
        """The account of a called AE title; None for none.

        Unless ``DicomCheckCalledAet``, the only one is that of every AE title.
        """
        own = {self.plain(aet): account for aet, account in self.aets.items()}
        found = own.get(self.plain(called))
        if found is None and not self.orthanc.dicom_check_called_aet:
            every = set(own.values())
            return every.pop() if len(every) == 1 else None
        return found

    def account_of_orthanc(self, called: str) -> str | None:
        """The account for those that call Orthanc itself, which has looked at the AE title."""
        every = set(self.aets.values())
        return self.account(called) or (every.pop() if len(every) == 1 else None)

    def rejection(self, called: str, calling: str, address: str) -> Rejection | None:
        """Why an association is not accepted, if it is not."""
        if self.account(called) is None:
            return Rejection.CALLED_AET
        options = self.orthanc
        anybody = (
            options.dicom_always_allow_echo
            or options.dicom_always_allow_find
            or options.dicom_always_allow_get
            or options.dicom_always_allow_move
            or options.dicom_always_allow_store
        )
        return None if anybody or self._known(calling, address) else Rejection.CALLING_AET

    def may_echo(self, calling: str, address: str) -> bool:
        """Whether a C-ECHO is answered with success."""
        allowed = any(one.allow_echo for one in self._known(calling, address))
        return self.orthanc.dicom_always_allow_echo or allowed

    def may_find(self, calling: str, address: str) -> bool:
        """Whether a C-FIND is answered."""
        allowed = any(one.allow_find for one in self._known(calling, address))
        return self.orthanc.dicom_always_allow_find or allowed

    def may_store(self, calling: str, address: str) -> bool:
        """Whether a C-STORE is taken."""
        allowed = any(one.allow_store for one in self._known(calling, address))
        return self.orthanc.dicom_always_allow_store or allowed

    def commitment_modality(self, calling: str, address: str) -> Modality | None:
        """The modality that a result of storage commitment is reported to; None for none.

        Of several with this AE title, the one that is where the request came from.
        """
        known = [one for one in self._known(calling, address) if one.allow_storage_commitment]
        there = [one for one in known if _plain(one.host) == _plain(address)]
        return next(iter(there or known), None)

    def may_get(self, calling: str, address: str) -> bool:
        """Whether a C-GET is answered."""
        allowed = any(one.allow_get for one in self._known(calling, address))
        return self.orthanc.dicom_always_allow_get or allowed

    def may_move(self, calling: str, address: str) -> bool:
        """Whether a C-MOVE is answered."""
        allowed = any(one.allow_move for one in self._known(calling, address))
        return self.orthanc.dicom_always_allow_move or allowed

    def modality(self, aet: str) -> Modality | None:
        """The modality of an AE title; None for none."""
        for one in self.orthanc.dicom_modalities:
            if self.plain(one.aet) == self.plain(aet):
                return one
        return None

    def _known(self, calling: str, address: str) -> list[Modality]:
        """The modalities that a peer may be, as Orthanc compares them: a host by its address."""
        checked = self.orthanc.dicom_check_modality_host
        return [
            one
            for one in self.orthanc.dicom_modalities
            if self.plain(one.aet) == self.plain(calling)
            and (not checked or _plain(one.host) == _plain(address))
        ]

    def plain(self, aet: str) -> str:
        """An AE title as Orthanc compares it."""
        bare = aet.strip(" \0")
        return bare if self.orthanc.strict_aet_comparison else bare.upper()


def printable_aet(aet: str) -> str:
    """An AE title as a log may have it."""
    bare = aet.strip(" \0")
    return "".join(one if " " <= one <= "~" else "?" for one in bare)[:16] or "-"


def _plain(address: str) -> str:
    """An address in one way of writing it; a name as it is."""
    try:
        found = ip_address(address)
    except ValueError:
        return address.lower()
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(mapped or found)
