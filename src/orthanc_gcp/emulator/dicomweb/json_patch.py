"""JSON Patch (RFC 6902) over JSON Pointers (RFC 6901), for metadata in the DICOM JSON Model.

A patch is applied to a copy of the document, and so as a whole or not at all (RFC 5789 section 2).
Which attributes may be changed is decided by :mod:`~orthanc_gcp.emulator.dicomweb.file_editing`.

It is written here because the library for it, ``jsonpatch`` (tried: 1.48), would have to be guarded
on every side:

- its errors quote the document ("member 'z' not found in {...}"), which here is the metadata of a
  patient, while the text of a refusal becomes an answer, and the error of an operation on disk;
- it copies without a bound: each ``copy`` of an array into itself doubles the document, and 22 of
  them, a request of 1 KB, took 6 seconds and made 4 million values;
- what does not fit is a ``JsonPatchException``, a ``JsonPointerException``, which is none of those,
  or a ``RecursionError``; Google has one status for them, 400 (INVALID_ARGUMENT);
- :func:`equal` is needed besides, to see which attributes differ after a patch.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["PatchError", "PatchOperation", "apply_patch", "equal", "read_patch"]

MAX_COPIED = 1_000_000
"""How many values all ``copy`` operations may make: each could double the document otherwise."""
_LONG = 64
"""Of a text, so many characters count like a value: what it is written into holds them each time.
"""

_INDEX = re.compile(r"0|[1-9]\d{0,8}", re.ASCII)
_NEEDS_VALUE = frozenset({"add", "replace", "test"})
_NEEDS_FROM = frozenset({"move", "copy"})

Pointer = tuple[str, ...]


class PatchError(ValueError):
    """A patch is malformed, or does not fit the document, of which the text quotes nothing."""


class PatchOperation(NamedTuple):
    """One operation of a patch (RFC 6902 section 4); ``source`` is its ``from``."""

    operation: str
    path: Pointer
    source: Pointer
    value: Any


def read_patch(document: Any) -> list[PatchOperation]:
    """Return the operations of a patch, given what its JSON says.

    Members that an operation does not have are ignored (RFC 6902 section 4). Raises
    :class:`PatchError` when it is no patch.
    """
    if not isinstance(document, list):
        raise PatchError("a patch is an array of operations")
    return [_read_operation(entry) for entry in document]


def apply_patch(document: Any, changes: list[PatchOperation]) -> Any:
    """Return a changed copy of a document.

    Raises :class:`PatchError` when an operation does not fit, when all ``copy`` operations together
    make more than :data:`MAX_COPIED` values, or too long ones, or when the document is nested too
    deeply.
    """
    try:
        return _Patching(copy.deepcopy(document)).apply(changes)
    except RecursionError:
        raise PatchError("the document is nested too deeply") from None


def equal(one: Any, other: Any) -> bool:
    """Return whether two values are the same in JSON, where ``true`` is not 1 (RFC 6902 4.6)."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


class _Patching:
    """A document in the course of being patched.

    Each operation is a method, named as in RFC 6902, which raises :class:`PatchError` when it does
    not fit.
    """

    def __init__(self, document: Any) -> None:
        self._document = document
        self._budget = MAX_COPIED

    def apply(self, changes: list[PatchOperation]) -> Any:
        for change in changes:
            _OPERATIONS[change.operation](self, change)
        return self._document

    def add(self, change: PatchOperation) -> None:
        self._insert(change.path, copy.deepcopy(change.value))

    def remove(self, change: PatchOperation) -> None:
        self._take(change.path)

    def replace(self, change: PatchOperation) -> None:
        if not change.path:
            self._document = copy.deepcopy(change.value)
            return
        holder, key = self._place(change.path)
        holder[key] = copy.deepcopy(change.value)

    def move(self, change: PatchOperation) -> None:
        if change.path[: len(change.source)] == change.source != change.path:
            raise PatchError("a value cannot be moved into itself")
        self._insert(change.path, self._take(change.source))

    def copy(self, change: PatchOperation) -> None:
        value = self._find(change.source)
        self._budget -= _count(value)
        if self._budget < 0:
            raise PatchError("the patch copies too much")
        self._insert(change.path, copy.deepcopy(value))

    def test(self, change: PatchOperation) -> None:
        if not equal(self._find(change.path), change.value):
            raise PatchError(f"the value at {_text(change.path)} is another one")

    def _find(self, path: Pointer) -> Any:
        found = self._document
        for token in path:
            found = found[_key(found, token, path)]
        return found

    def _place(self, path: Pointer) -> tuple[Any, Any]:
        """Return what holds a value that there is, and under which key."""
        holder = self._find(path[:-1])
        return holder, _key(holder, path[-1], path)

    def _take(self, path: Pointer) -> Any:
        if not path:
            raise PatchError("the document itself cannot be removed")
        holder, key = self._place(path)
        return holder.pop(key)

    def _insert(self, path: Pointer, value: Any) -> None:
        if not path:
            self._document = value
            return
        holder = self._find(path[:-1])
        if isinstance(holder, list):
            at = len(holder) if path[-1] == "-" else _index(path[-1], path)
            if at > len(holder):
                raise _missing(path)
            holder.insert(at, value)
        elif isinstance(holder, dict):
            holder[path[-1]] = value
        else:
            raise _missing(path)


_OPERATIONS: dict[str, Callable[[_Patching, PatchOperation], None]] = {
    "add": _Patching.add,
    "remove": _Patching.remove,
    "replace": _Patching.replace,
    "move": _Patching.move,
    "copy": _Patching.copy,
    "test": _Patching.test,
}


def _read_operation(entry: Any) -> PatchOperation:
    if not isinstance(entry, dict):
        raise PatchError("an operation of a patch is an object")
    operation = entry.get("op")
    if not isinstance(operation, str) or operation not in _OPERATIONS:
        raise PatchError("the operations of a patch are add, remove, replace, move, copy and test")
    if operation in _NEEDS_VALUE and "value" not in entry:
        raise PatchError(f"{operation} needs a value")
    source = _pointer(entry.get("from")) if operation in _NEEDS_FROM else ()
    return PatchOperation(operation, _pointer(entry.get("path")), source, entry.get("value"))


def _pointer(text: Any) -> Pointer:
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise PatchError("path and from are JSON pointers")
    if re.search("~(?![01])", text):
        raise PatchError("a JSON pointer has a wrong escape")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in text.split("/")[1:])


def _text(path: Pointer) -> str:
    return "".join("/" + token.replace("~", "~0").replace("/", "~1") for token in path)


def _key(holder: Any, token: str, path: Pointer) -> Any:
    """Return the key of a value that there is."""
    if isinstance(holder, dict) and token in holder:
        return token
    if isinstance(holder, list) and (at := _index(token, path)) < len(holder):
        return at
    raise _missing(path)


def _index(token: str, path: Pointer) -> int:
    if not _INDEX.fullmatch(token):
        raise _missing(path)
    return int(token)


def _missing(path: Pointer) -> PatchError:
    return PatchError(f"there is no value at {_text(path)}")


def _count(value: Any) -> int:
    """Return how many values a value consists of; long texts, and names, count as several."""
    waiting, count = [value], 0
    while waiting:
        found = waiting.pop()
        count += 1
        if isinstance(found, str):
            count += len(found) // _LONG
        elif isinstance(found, dict):
            waiting.extend(found)
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)
    return count
