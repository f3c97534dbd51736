"""Data sets in the Native DICOM Model, which is XML (DICOM PS3.19 section A.1).

They are made from the DICOM JSON Model. There is neither a prolog nor a name space, as in the XML
that the Healthcare API prints in answer to uploads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from xml.sax.saxutils import escape, quoteattr  # only to write  # nosec B406

from pydicom.datadict import keyword_for_tag

__all__ = ["escaped", "to_xml"]

_NAME_PARTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_REPLACEMENT = "\ufffd"


def to_xml(data_set: dict[str, Any]) -> bytes:
    """Return the document, in UTF-8, of a data set in the DICOM JSON Model."""
    content = "".join(_attributes(data_set))
    return f"<NativeDicomModel>{content}</NativeDicomModel>".encode()


def _attributes(data_set: dict[str, Any]) -> Iterator[str]:
    for tag, element in data_set.items():
        yield f"<DicomAttribute{_identity(tag, data_set)} vr={quoteattr(_text(element['vr']))}"
        yield f">{''.join(_content(element))}</DicomAttribute>"


def _identity(tag: str, data_set: dict[str, Any]) -> str:
    """Return what identifies an attribute; the tag of a private one goes without its block."""
    keyword = keyword_for_tag(tag)
    if keyword:
        return f' tag="{tag}" keyword="{keyword}"'
    creator = data_set.get(f"{tag[:4]}00{tag[4:6]}", {}).get("Value", [None])[0]
    if int(tag[3], 16) % 2 and tag[4:6] != "00" and isinstance(creator, str):
        return f' tag="{tag[:4]}00{tag[6:]}" privateCreator={quoteattr(_text(creator))}'
    return f' tag="{tag}"'


def _content(element: dict[str, Any]) -> Iterator[str]:
    if "BulkDataURI" in element:
        yield f"<BulkData uri={quoteattr(element['BulkDataURI'])}/>"
    elif "InlineBinary" in element:
        yield f"<InlineBinary>{element['InlineBinary']}</InlineBinary>"
    for number, value in enumerate(element.get("Value", ()), 1):
        if element["vr"] == "SQ":
            yield f'<Item number="{number}">{"".join(_attributes(value))}</Item>'
        elif element["vr"] == "PN" and value:
            yield f'<PersonName number="{number}">{"".join(_name(value))}</PersonName>'
        elif value is not None:
            yield f'<Value number="{number}">{escaped(value)}</Value>'


def _name(groups: dict[str, str]) -> Iterator[str]:
    for group, text in groups.items():
        parts = zip(_NAME_PARTS, text.split("^"), strict=False)
        content = "".join(f"<{name}>{escaped(part)}</{name}>" for name, part in parts if part)
        yield f"<{group}>{content}</{group}>"


def escaped(value: Any) -> str:
    """Return a value as the text of an element."""
    # A parser would turn a carriage return into a line feed.
    return escape(_text(value), {"\r": "&#13;"})


def _text(value: Any) -> str:
    """Return a value as text that XML can hold."""
    return _NOT_XML.sub(_REPLACEMENT, str(value))
