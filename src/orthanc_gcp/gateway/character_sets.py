"""Which character set an answer is written in (DICOM PS3.5 §6.1.2, PS3.3 §C.12.1.1.2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydicom.charset import convert_encodings, decode_bytes, encode_string, python_encoding
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

__all__ = ["UTF_8", "chosen", "decoded", "encodings_of"]

UTF_8 = "ISO_IR 192"
_LATIN_1 = "ISO_IR 100"
_ALONE = frozenset({UTF_8, "GB18030", "GBK"})
"""Those that stand for themselves, and beside no other (PS3.3 §C.12.1.1.2)."""
_DEFAULT = frozenset({"", "ISO_IR 6", "ISO 2022 IR 6"})
_PRINTABLE_ASCII = range(0x20, 0x7F)


def encodings_of(names: Sequence[str]) -> list[str] | None:
    """Python's encodings for the values of Specific Character Set; None where one is unknown."""
    known = all(name in python_encoding for name in names)
    alone = len(names) == 1 or not _ALONE.intersection(names)
    return convert_encodings(list(names) or [""]) if known and alone else None


def decoded(value: bytes, representation: str, encodings: list[str]) -> str:
    """A value as text.

    Raises
    ------
    UnicodeError
        It is none in these encodings.
    """
    delimiters = PN_DELIMS if representation == "PN" else TEXT_VR_DELIMS
    return "=".join(
        decode_bytes(group, encodings, delimiters)
        for group in (value.split(b"=") if representation == "PN" else [value])
    )


def chosen(asked: Sequence[str], texts: Iterable[str]) -> list[str]:
    """The character set of an answer: that of the request where all texts fit, or else UTF-8.

    A request without one is answered in Latin-1 where all texts are ASCII, which more workstations
    know than UTF-8.
    """
    found = list(texts)
    if all(ord(one) in _PRINTABLE_ASCII for text in found for one in text):
        return list(asked) if any(asked) and encodings_of(asked) else [_LATIN_1]
    if any(asked) and _fit(asked, found):
        return list(asked)
    return [UTF_8]


def _fit(asked: Sequence[str], texts: list[str]) -> bool:
    """Whether texts can be written in a character set, and are the same when they are read."""
    encodings = encodings_of(asked)
    if encodings is None:
        return False
    # pydicom takes the default repertoire, which is ASCII, for Latin-1.
    writing = [
        "ascii" if name in _DEFAULT else encoding
        for name, encoding in zip(asked, encodings, strict=False)
    ]
    return all(_survives(part, encodings, writing) for text in texts for part in text.split("="))


def _survives(text: str, encodings: list[str], writing: list[str]) -> bool:
    try:
        for part in text.split("^"):
            if any(not _writable(one, writing) for one in part):
                return False
            if decode_bytes(encode_string(part, encodings), encodings, PN_DELIMS) != part:
                return False
    except (UnicodeError, UserWarning, LookupError, ValueError):
        return False
    return True


def _writable(character: str, encodings: list[str]) -> bool:
    """Whether one of the encodings has a character: pydicom would write a question mark."""
    for encoding in encodings:
        try:
            character.encode(encoding)
        except (UnicodeError, LookupError):
            continue
        return True
    return False
