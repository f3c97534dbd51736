"""Checksums of objects."""

from __future__ import annotations

import base64
import hashlib
import random

import pytest

from orthanc_gcp.emulator.cloud_storage.checksums import Checksums, crc32c


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        # RFC 3720 appendix B.4
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_values_that_are_known(content: bytes, expected: int) -> None:
    assert crc32c(content) == expected


def by_bit(content: bytes) -> int:
    register = 0xFFFFFFFF
    for byte in content:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


@pytest.mark.parametrize("size", [1, 127, 128, 255, 256, 257, 383, 384, 1000, 4097, 20_000])
def test_any_length_in_any_pieces(size: int) -> None:
    content = random.Random(size).randbytes(size)
    expected = by_bit(content)
    assert crc32c(content) == expected
    for step in (1 if size < 300 else 97, 128, 1000):
        checksums = Checksums()
        for start in range(0, size, step):
            checksums.update(content[start : start + step])
        assert checksums.size == size
        assert checksums.md5 == base64.b64encode(hashlib.md5(content).digest()).decode()
        assert checksums.crc32c == base64.b64encode(expected.to_bytes(4, "big")).decode()
