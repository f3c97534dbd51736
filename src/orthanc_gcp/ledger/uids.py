"""Which UIDs a row can be sent and read back by: judged once, where it enters the ledger.

Google stores what PS3.5 §9.1 would not call a UID, such as ``study_1``, and finds it again: that
is sent, percent-encoded in paths. What can be no segment of a path (RFC 3986 §3.3) can be stored,
and never be asked for.
"""

from __future__ import annotations

__all__ = ["shown", "storable", "uid_fault"]

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_LONGEST_SHOWN = 64
"""The length of the longest UID of PS3.5 §9.1."""


def uid_fault(study: str, series: str, instance: str) -> str | None:
    """Why an instance with these UIDs cannot be asked for, in words; None where it can be."""
    levels = {"Study Instance UID": study, "Series Instance UID": series}
    for name, uid in {**levels, "SOP Instance UID": instance}.items():
        fault = _fault(uid)
        if fault:
            return f"its {name} {shown(uid)} {fault}: a store could never be asked for it"
    return None


def shown(uid: str) -> str:
    """A UID as it stands in words: in quotes, of bounded length."""
    return repr(storable(uid[:_LONGEST_SHOWN]))


def storable(uid: str) -> str:
    """A UID as every database takes it: what cannot be shown is replaced (U+FFFD)."""
    return "".join(character if character.isprintable() else _REPLACEMENT for character in uid)


def _fault(uid: str) -> str | None:
    if not uid:
        return "is empty"
    if uid in (".", ".."):
        return "is a dot-segment of a path"
    if "/" in uid or "\\" in uid:
        return "has a slash"
    if not uid.isprintable() or _REPLACEMENT in uid:
        return "has control characters"
    return None
