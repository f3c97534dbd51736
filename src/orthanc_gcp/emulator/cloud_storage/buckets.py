"""A folder that stands for Cloud Storage: ``gs://bucket/object`` is the file ``bucket/object``.

Nothing leads out of the folder: every step of a path is opened for itself, below the one before,
and neither ``..`` nor a symbolic link is a step.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedWriter, FileIO
from pathlib import Path
from typing import BinaryIO

from orthanc_gcp.emulator.cloud_storage.object_uri import BUCKET, MAX_DEPTH, ObjectUri, steps
from orthanc_gcp.emulator.system.files import WITHOUT_WAITING

__all__ = ["UNFINISHED", "Buckets", "NotEmptyError", "UnavailableError", "UnfinishedObject"]

UNFINISHED = ".uploads"
"""The folder, beside the buckets, of what is being written; no bucket can have this name."""

ABANDONED_AFTER = 7 * 24 * 3600
"""After how many seconds what nobody writes to any more is removed at the next start."""
_ONLY_FOLDERS = getattr(os, "O_DIRECTORY", 0)
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
_FOLDER = os.O_RDONLY | _ONLY_FOLDERS | _NO_LINKS


class UnavailableError(Exception):
    """A bucket or an object that there is not, or that is none."""


class NotEmptyError(Exception):
    """A bucket that has objects."""


class UnfinishedObject:
    """A file that is being written; :meth:`Buckets.finish` makes an object of it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / secrets.token_hex(16)
        self._path.touch(exist_ok=False)

    def append(self) -> FileIO:
        """Open the file, to write at its end."""
        return self._path.open("ab", buffering=0)

    def status(self) -> os.stat_result:
        """Return what the system knows of the file."""
        return self._path.lstat()

    def move_to(self, folder: int, name: str) -> None:
        os.rename(self._path, name, dst_dir_fd=folder)

    def discard(self) -> None:
        """Remove it, if it can be; nothing happens when it has become an object."""
        with suppress(OSError):
            self._path.unlink()


class Buckets:
    """The buckets in a folder; without a folder there are none.

    Raises
    ------
    OSError
        There is a folder, on a system where no path can be followed step by step (Windows).
    """

    def __init__(self, folder: Path | None) -> None:
        if folder is not None and not (_ONLY_FOLDERS and _NO_LINKS):
            raise OSError(errno.ENOTSUP, "there are no buckets on this system", str(folder))
        self._folder = folder
        self._lock = threading.Lock()
        if folder is not None:
            _remove_abandoned(folder / UNFINISHED)

    # Buckets

    def names(self) -> list[str]:
        """Return the names of all buckets, in order."""
        if self._folder is None or not self._folder.is_dir():
            return []
        with os.scandir(self._folder) as found:
            return sorted(
                entry.name
                for entry in found
                if BUCKET.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
            )

    def bucket_status(self, bucket: str) -> os.stat_result:
        """Return what the system knows of a bucket; raise :class:`UnavailableError`."""
        with self._open_bucket(bucket) as folder:
            return os.fstat(folder)

    def create_bucket(self, bucket: str) -> None:
        """Make a bucket.

        Raises :class:`FileExistsError` when it is there, and :class:`UnavailableError` when there
        is no folder for buckets.
        """
        (self._root / bucket).mkdir(parents=True)

    def delete_bucket(self, bucket: str) -> None:
        """Remove a bucket; raise :class:`UnavailableError` or :class:`NotEmptyError`."""
        with self._lock:
            self.bucket_status(bucket)
            try:
                (self._root / bucket).rmdir()
            except OSError as error:
                raise NotEmptyError(bucket) from error

    # Objects

    def object_names(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[str]:
        """Yield the names of objects that begin with a prefix, those after a name, in order.

        The order is that of UTF-8. Raises :class:`UnavailableError` when there is no such bucket.
        """
        with self._open_bucket(bucket) as folder:
            yield from _walk(folder, "", prefix, after)

    def find(self, uri: ObjectUri) -> Iterator[str]:
        """Yield the objects that an address with wildcards means, by name.

        Raises :class:`InvalidUriError`, and :class:`UnavailableError` when there is no such bucket.
        """
        pattern = uri.pattern()
        if not uri.has_wildcards:
            self.bucket_status(uri.bucket)
            with suppress(UnavailableError), self.open(uri):
                yield uri.name
            return
        yield from filter(pattern.fullmatch, self.object_names(uri.bucket, uri.fixed_start))

    @contextmanager
    def open(self, uri: ObjectUri) -> Iterator[BinaryIO]:
        """Open an object for reading; raise :class:`UnavailableError`."""
        *folders, name = steps(uri.name)
        try:
            with self._below(uri.bucket, folders) as folder:
                # Not blocked by a FIFO, which is no object either.
                flags = os.O_RDONLY | _NO_LINKS | WITHOUT_WAITING
                descriptor = os.open(name, flags, dir_fd=folder)
        except OSError as error:
            raise UnavailableError(f"no such object: {uri}") from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise UnavailableError(f"no such object: {uri}")
        with os.fdopen(descriptor, "rb") as file:
            yield file

    def begin(self, bucket: str) -> UnfinishedObject:
        """Begin an object of a bucket, which is not there before it is finished.

        Raises :class:`UnavailableError` when there is no such bucket, or it cannot be written.
        """
        self.bucket_status(bucket)
        folder = self._root / UNFINISHED
        try:
            folder.mkdir(exist_ok=True)
            if folder.is_symlink():
                raise UnavailableError(f"{folder} is a symbolic link")
            return UnfinishedObject(folder)
        except OSError as error:
            raise UnavailableError(f"cannot write into the bucket {bucket}") from error

    def finish(self, unfinished: UnfinishedObject, uri: ObjectUri) -> None:
        """Let an object be there, in the place of one that was.

        Raises :class:`UnavailableError` when it cannot be: a folder has its name, or a file has
        that of its folder. What was written is forgotten then.
        """
        *folders, name = steps(uri.name)
        try:
            with self._lock, self._below(uri.bucket, folders, create=True) as folder:
                unfinished.move_to(folder, name)
        except OSError as error:
            raise UnavailableError(f"cannot write: {uri}") from error
        finally:
            unfinished.discard()

    @contextmanager
    def create(self, uri: ObjectUri) -> Iterator[BinaryIO]:
        """Open an object for writing; it is there, whole, when the block ends without an error.

        Raises :class:`UnavailableError` when it cannot be written.
        """
        unfinished = self.begin(uri.bucket)
        try:
            with BufferedWriter(unfinished.append()) as file:
                yield file
            self.finish(unfinished, uri)
        except OSError as error:
            raise UnavailableError(f"cannot write: {uri}") from error
        finally:
            unfinished.discard()

    def delete(self, uri: ObjectUri) -> None:
        """Remove an object, and folders that have none then; raise :class:`UnavailableError`."""
        *folders, name = steps(uri.name)
        with self._lock, self.open(uri):
            try:
                with self._below(uri.bucket, folders) as folder:
                    os.unlink(name, dir_fd=folder)
                while folders:
                    *folders, name = folders
                    with self._below(uri.bucket, folders) as folder:
                        os.rmdir(name, dir_fd=folder)
            except FileNotFoundError as error:
                raise UnavailableError(f"no such object: {uri}") from error
            except OSError:
                return  # a folder with something else in it

    @property
    def _root(self) -> Path:
        if self._folder is None:
            raise UnavailableError("the emulator runs without a folder of buckets")
        return self._folder

    @contextmanager
    def _open_bucket(self, bucket: str) -> Iterator[int]:
        """Open the folder of a bucket; raise :class:`UnavailableError`."""
        if self._folder is None or not BUCKET.fullmatch(bucket):
            raise UnavailableError(f"no such bucket: {bucket}")
        try:
            folder = os.open(self._folder / bucket, _FOLDER)
        except OSError as error:
            raise UnavailableError(f"no such bucket: {bucket}") from error
        try:
            yield folder
        finally:
            os.close(folder)

    @contextmanager
    def _below(self, bucket: str, folders: list[str], *, create: bool = False) -> Iterator[int]:
        """Open a folder of a bucket; raise FileNotFoundError when it is not there."""
        with self._open_bucket(bucket) as top:
            folder = os.dup(top)
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


def _walk(folder: int, above: str, prefix: str, after: str, depth: int = 1) -> Iterator[str]:
    """Yield the names below a folder, those that begin with a prefix and come after a name."""
    for name in _entries(folder):
        path = above + name
        if name.endswith("/"):
            is_before = path < after and not after.startswith(path)
            is_apart = not path.startswith(prefix) and not prefix.startswith(path)
            if is_before or is_apart or depth >= MAX_DEPTH:
                continue
            try:
                below = _enter(name[:-1], folder)
            except FileNotFoundError:
                continue  # it is gone, or something else by now
            try:
                yield from _walk(below, path, prefix, after, depth + 1)
            finally:
                os.close(below)
        elif path.startswith(prefix) and path > after:
            yield path


def _entries(folder: int) -> list[str]:
    """Return the names of files, and of folders with a slash, in the order of whole names."""
    with os.scandir(folder) as found:
        return sorted(
            f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name
            for entry in found
            if _is_text(entry.name)
            and (entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False))
        )


def _is_text(name: str) -> bool:
    """Return whether a name of a file is one that an object can have."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return not {"\n", "\r"} & set(name)


def _remove_abandoned(folder: Path) -> None:
    """Remove what was being written when another emulator ended, long ago."""
    with suppress(OSError):
        for path in folder.iterdir():
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and time.time() - status.st_mtime > ABANDONED_AFTER:
                path.unlink(missing_ok=True)
