"""DICOM files as nobody should write them: lengths, sequences, images and encodings that lie."""

from __future__ import annotations

import struct
import zlib
from typing import Any

from hypothesis import strategies as st

STUDY, SERIES = "1.2.3", "1.2.3.4"
INSTANCES = ("1.2.3.4.5", "1.2.3.4.6")

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
ENCAPSULATED = [
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.102",
    "1.2.840.10008.1.2.5",
]
_LONG = {"OB", "OW", "OF", "OD", "OL", "OV", "SQ", "UC", "UN", "UR", "UT", "SV", "UV"}
UNDEFINED = 0xFFFFFFFF
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def element(
    tag: int, vr: str, value: bytes, syntax: str = EXPLICIT, length: int | None = None
) -> bytes:
    """An element (PS3.5 section 7.1), with any length."""
    order = ">" if syntax == BIG else "<"
    value += b"\0" * (len(value) % 2)
    size = (len(value) if length is None else length) & UNDEFINED
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
    if syntax == IMPLICIT or tag >> 16 == 0xFFFE:
        return head + struct.pack(f"{order}L", size) + value
    if vr in _LONG:
        return head + vr.encode("latin-1") + struct.pack(f"{order}HL", 0, size) + value
    return head + vr.encode("latin-1")[:2] + struct.pack(f"{order}H", size & 0xFFFF) + value


def item(content: bytes, syntax: str = EXPLICIT, length: int | None = None) -> bytes:
    return element(0xFFFEE000, "", content, syntax, length)


def file_of(data_set: bytes, syntax: str, meta: bytes = b"") -> bytes:
    """A file (PS3.10 section 7.1) in any transfer syntax."""
    information = (
        element(0x00020001, "OB", b"\0\1")
        + element(0x00020002, "UI", _SECONDARY_CAPTURE.encode())
        + element(0x00020003, "UI", INSTANCES[0].encode())
        + element(0x00020010, "UI", syntax.encode("utf-8", "surrogateescape"))
        + meta
    )
    length = element(0x00020000, "UL", struct.pack("<L", len(information)))
    if syntax == DEFLATED:
        deflate = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
        data_set = deflate.compress(data_set) + deflate.flush()
    return b"\0" * 128 + b"DICM" + length + information + data_set


_lengths = st.sampled_from([0, 1, 2, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, UNDEFINED, 2**31, 12345])
_shorts = st.sampled_from([0, 1, 2, 3, 7, 8, 12, 16, 32, 64, 255, 512, 65535])
_texts = st.sampled_from(
    [
        *(
            b"",
            b"a",
            b"\0",
            b"\x1b[31m",
            b"\x1b$B",
            b"\r\n",
            b"..",
            b"\xff\xfe",
            b"a\\b\\c",
            b"^^^^",
        ),
        *(b"1" * 70, b"-1", b"1e400", b"nan", b"inf", b"999999999", b"2147483648", b"1" * 5000),
        *(b"ISO 2022 IR 87", b"ISO_IR 192", b"utf-16", b"a" * 3000, "é日本".encode(), b"=" * 100),
        *(b"20200229", b"00000000", b"99999999", b"235960.999999", b"*", b"?", b"\\" * 2000),
    ]
)
_vrs = st.sampled_from(
    [
        *[
            "AE",
            "AS",
            "AT",
            "CS",
            "DA",
            "DS",
            "DT",
            "FD",
            "FL",
            "IS",
            "LO",
            "LT",
            "OB",
            "OD",
            "OF",
            "OL",
            "OW",
            "PN",
            "SH",
            "SL",
        ]
    ]
) | (
    st.sampled_from(
        [
            *["SQ", "SS", "ST", "SV", "TM", "UC", "UI", "UL", "UN", "UR", "US", "UT", "UV"],
            "??",
            "\0\0",
            "aa",
        ]
    )
)
_tags = st.sampled_from(
    [
        *(0x00080005, 0x00080020, 0x00080060, 0x00100010, 0x00080016, 0x00081140, 0x00280106),
        *(0x00281050, 0x00281052, 0x00281101, 0x00281201, 0x00283000, 0x00091001, 0x00090010),
        *(0x52009230, 0x00289110, 0x7FE00008, 0x7FE00010, 0x7FE00001, 0xFFFCFFFC, 0xFFFEE00D),
        *(0x00000000, 0x00020010, 0xFFFFFFFF, 0x00400555, 0x60003000, 0x00186060, 0x00080018),
        *(0x00280002, 0x00280004, 0x00280008, 0x00280010, 0x00280011, 0x00280100, 0x00280103),
    ]
)


@st.composite
def _nested(draw: st.DrawFn, syntax: str) -> bytes:
    depth = draw(st.sampled_from([1, 2, 20, 200, 1500]))
    is_defined = draw(st.booleans()) and depth <= 20
    tag = draw(st.sampled_from([0x00081140, 0x00400555, 0x00091002]))
    content = element(0x00081150, "UI", b"1.2", syntax)
    for _ in range(depth):
        length = None if is_defined else UNDEFINED
        content = element(tag, "SQ", item(content, syntax, length), syntax, length)
    return content


@st.composite
def _odd(draw: st.DrawFn, syntax: str) -> bytes:
    value = draw(_texts | st.binary(max_size=20))
    length = draw(st.none() | _lengths)
    return element(draw(_tags), draw(_vrs), value, syntax, length)


def _number(tag: int, value: int, syntax: str) -> bytes:
    return element(tag, "US", struct.pack(">H" if syntax == BIG else "<H", value), syntax)


@st.composite
def _image(draw: st.DrawFn, syntax: str) -> bytes:
    """Attributes of an image (PS3.3 section C.7.6.3), which need not fit its pixels."""
    is_right = draw(st.booleans())
    numbers: dict[int, int] = {
        0x00280002: 1,
        0x00280010: 4,
        0x00280011: 4,
        0x00280100: 8,
        0x00280101: 8,
        0x00280102: 7,
        0x00280103: 0,
        0x00280006: 0,
    }
    if not is_right:
        for tag in draw(st.lists(st.sampled_from(sorted(numbers)), max_size=4)):
            numbers[tag] = draw(_shorts)
    photometric = draw(
        st.sampled_from(
            [b"MONOCHROME2", b"MONOCHROME1", b"RGB", b"PALETTE COLOR", b"YBR_FULL", b"x"]
        )
    )
    frames = draw(st.sampled_from([b"1", b"2", b"0", b"-1", b"999999999", b"1e9", b"", b"1\\2"]))
    parts = [element(0x00280004, "CS", photometric, syntax)]
    parts += [element(0x00280008, "IS", frames, syntax)] if draw(st.booleans()) else []
    parts += [_number(tag, value, syntax) for tag, value in numbers.items()]
    return b"".join(parts)


_STREAMS = [
    b"",
    b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff\xc0\0\x0b\x08\xff\xff\xff\xff\1\1\x11\0",
    b"\xff\xd8\xff\xf7\0\x0b\x08\xff\xff\xff\xff\1\1\x11\0\xff\xda\0\x08\1\1\0\0\0\0\xff\xd9",
    b"\xff\x4f\xff\x51\0\x29\0\0"
    + b"\x7f\xff\xff\xff" * 2
    + b"\0" * 8
    + b"\0\0\0\1" * 2
    + b"\0" * 20,
    b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 30,
    b"\1\0\0\0\x40\0\0\0" + b"\0" * 56 + b"\x81\0" * 40,
    b"\xff" * 300,
    b"\0" * 16,
]


@st.composite
def _pixels(draw: st.DrawFn, syntax: str) -> bytes:
    if syntax not in ENCAPSULATED or draw(st.integers(0, 5)) == 0:
        size = draw(st.sampled_from([0, 1, 15, 16, 32, 48, 5000]))
        return element(0x7FE00010, "OW", b"\1" * size, syntax, draw(st.none() | _lengths))
    table = draw(
        st.sampled_from(
            [b"", b"\0" * 4, b"\0\0\0\0\x10\0\0\0", b"\xff" * 8, b"\0" * 7, b"\0" * 4000]
        )
    )
    streams = draw(st.lists(st.sampled_from(_STREAMS) | st.binary(max_size=60), max_size=4))
    items = [item(table)] + [item(one, length=draw(st.none() | _lengths)) for one in streams]
    end = draw(st.sampled_from([element(0xFFFEE0DD, "", b""), b"", b"\xfe\xff\xdd\xe0"]))
    return element(0x7FE00010, "OB", b"".join(items) + end, syntax, UNDEFINED)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """A file whose UIDs are mostly those above, so that it can be asked for."""
    syntax = draw(st.sampled_from([EXPLICIT, EXPLICIT, IMPLICIT, BIG, DEFLATED, *ENCAPSULATED]))
    named = draw(st.sampled_from([syntax] * 9 + ["1.2.3", "", "\udcff", "1.2.840.10008.1.2.4.100"]))
    uids: list[Any] = [(0x00080018, INSTANCES[0]), (0x0020000D, STUDY), (0x0020000E, SERIES)]
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, 2))
        odd = draw(st.sampled_from(["..", "1/2", "", "a b", "\r\n", "1" * 70, "é", "\0", "1\\2"]))
        uids[at] = (uids[at][0], odd)
    parts = {tag: element(tag, "UI", uid.encode(), syntax) for tag, uid in uids}
    parts[0x00080016] = element(0x00080016, "UI", _SECONDARY_CAPTURE.encode(), syntax)
    parts[0x00100010] = element(0x00100010, "PN", draw(_texts), syntax)
    more = draw(st.lists(_odd(syntax) | _nested(syntax), max_size=3))
    end = draw(st.booleans())
    body = b"".join(parts[tag] for tag in sorted(parts))
    image = draw(_image(syntax)) + draw(_pixels(syntax)) if draw(st.integers(0, 3)) else b""
    body = body + b"".join(more) + image if end else body + image + b"".join(more)
    content = file_of(body, named)
    if draw(st.integers(0, 4)) == 0:
        cut = len(content) - draw(st.integers(0, len(content)))
        content = content[:cut] + draw(st.binary(max_size=6)) + content[cut + 6 :]
    return content


def bombs() -> list[bytes]:
    """Files of little that want to become much: deflated nothing, and images of 65,535 squared."""
    nothing = element(0x00091001, "OB", bytes(200 * 1024 * 1024))
    uids = element(0x00080016, "UI", b"1.2") + element(0x00080018, "UI", INSTANCES[1].encode())
    uids += element(0x0020000D, "UI", STUDY.encode()) + element(0x0020000E, "UI", SERIES.encode())
    large = b"".join(
        _number(tag, value, EXPLICIT)
        for tag, value in (
            *((0x00280002, 3), (0x00280010, 65535), (0x00280011, 65535), (0x00280100, 16)),
            *((0x00280101, 16), (0x00280102, 15), (0x00280103, 0)),
        )
    )
    images = [
        element(
            0x7FE00010,
            "OB",
            item(b"") + item(stream) + element(0xFFFEE0DD, "", b""),
            EXPLICIT,
            UNDEFINED,
        )
        for stream in _STREAMS[1:6]
    ]
    return [
        file_of(uids + nothing, DEFLATED),
        *(
            file_of(uids + large + pixels, syntax)
            for syntax, pixels in zip(
                [
                    ENCAPSULATED[0],
                    ENCAPSULATED[4],
                    ENCAPSULATED[5],
                    ENCAPSULATED[5],
                    ENCAPSULATED[9],
                ],
                images,
                strict=True,
            )
        ),
    ]
