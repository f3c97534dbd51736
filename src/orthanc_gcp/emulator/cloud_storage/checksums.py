"""MD5 and CRC32C of objects, as Cloud Storage has them: in base64, the CRC in network order.

CRC32C is that of RFC 3720 appendix B.4 (Castagnoli), computed over many stripes of a block at once:
byte by byte, Python would take minutes for a gigabyte, and no library that the emulator needs
anyway has it.
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Checksums", "crc32c"]

_POLYNOMIAL = 0x82F63B78
_STRIPE = 128
_ONES = 0xFFFFFFFF

Words = npt.NDArray[np.uint32]


class Checksums:
    """The checksums of bytes that come one block after the other; ``size`` is how many."""

    def __init__(self) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._crc32c = 0
        self.size = 0

    def update(self, block: bytes) -> None:
        """Take more bytes."""
        self._md5.update(block)
        self._crc32c = crc32c(block, self._crc32c)
        self.size += len(block)

    @property
    def md5(self) -> str:
        return base64.b64encode(self._md5.digest()).decode()

    @property
    def crc32c(self) -> str:
        return base64.b64encode(self._crc32c.to_bytes(4, "big")).decode()


def crc32c(block: bytes, start: int = 0) -> int:
    """Return the CRC32C of bytes that follow others, whose CRC32C is ``start``."""
    register = start ^ _ONES
    stripes = len(block) // _STRIPE
    if stripes > 1:
        register = _shifted(register, stripes * _STRIPE) ^ _of_stripes(block, stripes)
        block = block[stripes * _STRIPE :]
    table = _byte_table()
    for byte in block:
        register = table[(register ^ byte) & 0xFF] ^ (register >> 8)
    return register ^ _ONES


def _of_stripes(block: bytes, stripes: int) -> int:
    """Return the register after many stripes that began with an empty one."""
    pairs = np.frombuffer(block, "<u2", stripes * _STRIPE // 2).reshape(stripes, -1)
    registers: Words = np.zeros(stripes, np.uint32)
    table = _pair_table()
    for column in np.ascontiguousarray(pairs.T):
        registers = table[(registers ^ column) & 0xFFFF] ^ (registers >> np.uint32(16))
    size = _STRIPE
    while len(registers) > 1:
        if len(registers) % 2:
            # An empty register stays empty, however many zeros come.
            registers = np.concatenate([np.zeros(1, np.uint32), registers])
        registers = _apply(_zeros(size), registers[0::2]) ^ registers[1::2]
        size *= 2
    return int(registers[0])


def _shifted(register: int, size: int) -> int:
    """Return a register after so many bytes of zero."""
    word: Words = np.array([register], np.uint32)
    power = 1
    while size:
        if size & 1:
            word = _apply(_zeros(power), word)
        size, power = size >> 1, power * 2
    return int(word[0])


def _apply(tables: Words, words: Words) -> Words:
    """Multiply words by a matrix of bits, given by what it does to each byte."""
    found: Words = tables[0][words & 0xFF]
    for place in (1, 2, 3):
        found = found ^ tables[place][(words >> np.uint32(8 * place)) & 0xFF]
    return found


@lru_cache(maxsize=64)
def _zeros(size: int) -> Words:
    """Return the matrix of so many bytes of zero, a power of two, as :func:`_apply` takes it."""
    words = np.concatenate([np.arange(256, dtype=np.uint32) << (8 * place) for place in range(4)])
    if size > 1:
        half = _zeros(size // 2)
        return _apply(half, _apply(half, words)).reshape(4, 256)
    table = np.array(_byte_table(), np.uint32)
    stepped: Words = table[words & 0xFF] ^ (words >> np.uint32(8))
    return stepped.reshape(4, 256)


@lru_cache(maxsize=1)
def _byte_table() -> list[int]:
    table = []
    for register in range(256):
        for _ in range(8):
            register = (register >> 1) ^ (_POLYNOMIAL if register & 1 else 0)
        table.append(register)
    return table


@lru_cache(maxsize=1)
def _pair_table() -> Any:
    """Return what two bytes at once do to a register."""
    table = np.array(_byte_table(), np.uint32)
    first = table[np.arange(65536) & 0xFF]
    second = (np.arange(65536, dtype=np.uint32) >> np.uint32(8)) ^ first
    return table[second & 0xFF] ^ (second >> np.uint32(8))
