"""A folder that stands for Cloud Storage: ``gs://bucket/object`` is the file ``bucket/object``.

Nothing leads out of the folder: every step of a path is opened for itself, below the one before,
and neither ``..`` nor a symbolic link is a step.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

__all__ = ["Buckets", "InvalidUriError", "ObjectUri", "UnavailableError"]

_URI = re.compile(r"gs://(?P<bucket>[a-z0-9][a-z0-9._-]{1,220}[a-z0-9])(?:/(?P<name>.*))?")
_MAX_OBJECT = 1024
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_UNFINISHED = ".being-written"
_WILDCARDS = re.compile(r"\*\*|\*|\?")


class InvalidUriError(ValueError):
    """An address that no object of Cloud Storage has."""


class UnavailableError(Exception):
    """A bucket or an object that there is not, or that is none."""


@dataclass(frozen=True)
class ObjectUri:
    """An address in Cloud Storage; the object's ``name`` may be empty, or have wildcards."""

    bucket: str
    name: str

    @classmethod
    def parse(cls, text: object) -> ObjectUri:
        """Parse ``gs://bucket/object``; raise :class:`InvalidUriError`."""
        match = _URI.fullmatch(text) if isinstance(text, str) else None
        if match is None or len(match["name"] or "") > _MAX_OBJECT:
            raise InvalidUriError(f"invalid Cloud Storage URI: {text!r}")
        uri = cls(match["bucket"], (match["name"] or "").rstrip("/"))
        if uri.name:
            _steps(uri.name)
        return uri

    def pattern(self) -> re.Pattern[str]:
        """Return what the names of the objects meant match.

        ``**`` stands at the end, or before an extension, and then there is no other wildcard.
        Raises :class:`InvalidUriError` for wildcards elsewhere.
        """
        wildcards = _WILDCARDS.findall(self.name)
        if "**" in wildcards:
            _, _, rest = self.name.partition("**")
            if len(wildcards) > 1 or not re.fullmatch(r"(\.\w+)*", rest):
                raise InvalidUriError(f"invalid wildcards: {self!s}")
            return re.compile(".*".join(map(re.escape, self.name.split("**"))), re.DOTALL)
        return re.compile("/".join(map(_step_pattern, self.name.split("/"))))

    def __str__(self) -> str:
        return f"gs://{self.bucket}/{self.name}"


class Buckets:
    """The buckets in a folder; without a folder there are none."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def find(self, uri: ObjectUri) -> Iterator[str]:
        """Yield the objects that an address with wildcards means, by name.

        Raises :class:`InvalidUriError`, and :class:`UnavailableError` when there is no such bucket.
        """
        pattern = uri.pattern()
        # The folder above the first wildcard: no other can have what is meant.
        start, _, _ = _WILDCARDS.split(uri.name)[0].rpartition("/")
        try:
            with self._below(uri.bucket, _steps(start) if start else []) as folder:
                yield from _walk(folder, f"{start}/" if start else "", pattern)
        except FileNotFoundError:
            return

    @contextmanager
    def open(self, uri: ObjectUri) -> Iterator[BinaryIO]:
        """Open an object for reading; raise :class:`UnavailableError`."""
        *folders, name = _steps(uri.name)
        try:
            with self._below(uri.bucket, folders) as folder:
                # Not blocked by a FIFO, which is no object either.
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
                descriptor = os.open(name, flags, dir_fd=folder)
        except OSError as error:
            raise UnavailableError(f"no such object: {uri}") from error
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UnavailableError(f"no such object: {uri}")
            yield file

    @contextmanager
    def create(self, uri: ObjectUri) -> Iterator[BinaryIO]:
        """Open an object for writing; it is there, whole, when the block ends without an error.

        Raises :class:`UnavailableError` when it cannot be written.
        """
        *folders, name = _steps(uri.name)
        unfinished = f".{secrets.token_hex(16)}{_UNFINISHED}"
        try:
            with self._below(uri.bucket, folders, create=True) as folder:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
                descriptor = os.open(unfinished, flags, 0o666, dir_fd=folder)
                try:
                    with os.fdopen(descriptor, "wb") as file:
                        yield file
                    os.rename(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder)
                except BaseException:
                    with suppress(FileNotFoundError):
                        os.unlink(unfinished, dir_fd=folder)
                    raise
        except OSError as error:
            raise UnavailableError(f"cannot write: {uri}") from error

    @contextmanager
    def _below(self, bucket: str, folders: list[str], *, create: bool = False) -> Iterator[int]:
        """Open a folder of a bucket; raise FileNotFoundError when it is not there."""
        if self._folder is None:
            raise UnavailableError(f"no such bucket: {bucket}")
        root = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                folder = os.open(bucket, _FOLDER, dir_fd=root)
            except OSError as error:
                raise UnavailableError(f"no such bucket: {bucket}") from error
        finally:
            os.close(root)
        try:
            for name in folders:
                if create:
                    with suppress(FileExistsError):
                        os.mkdir(name, dir_fd=folder)
                above, folder = folder, _enter(name, folder)
                os.close(above)
            yield folder
        finally:
            os.close(folder)


def _enter(name: str, above: int) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=above)
    except OSError as error:
        # A symbolic link or a file: there is no such folder.
        raise FileNotFoundError(name) from error


def _steps(path: str) -> list[str]:
    steps = path.split("/")
    if any(step in ("", ".", "..") or "\0" in step or len(step) > 255 for step in steps):
        raise InvalidUriError(f"invalid Cloud Storage object: {path!r}")
    return steps


def _step_pattern(step: str) -> str:
    """Return what one step of a path means, in linear time: no star is tried twice."""
    first, *rest = ("[^/]".join(map(re.escape, text.split("?"))) for text in step.split("*"))
    if not rest:
        return first
    *middle, last = rest
    return first + "".join(f"(?>[^/]*?{text})" for text in middle) + f"[^/]*{last}"


def _walk(folder: int, prefix: str, pattern: re.Pattern[str]) -> Iterator[str]:
    with os.scandir(folder) as found:
        entries = sorted(
            (entry.name, entry.is_dir(follow_symlinks=False))
            for entry in found
            if entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False)
        )
    for name, is_folder in entries:
        if is_folder:
            try:
                below = _enter(name, folder)
            except FileNotFoundError:
                continue  # it is gone, or something else by now
            try:
                yield from _walk(below, f"{prefix}{name}/", pattern)
            finally:
                os.close(below)
        elif pattern.fullmatch(prefix + name) and not name.endswith(_UNFINISHED):
            yield prefix + name
