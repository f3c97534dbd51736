"""What is done to the disk: a few kinds of steps, none of which leaves half a file behind.

After each step, and after a crash in the midst of one, Orthanc can start; and what a step has done
already, it does not do again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from orthanc_gcp.errors import InstallationError

__all__ = [
    "EditFile",
    "MakeFolder",
    "MoveAside",
    "Owner",
    "RemoveFile",
    "RemoveFolder",
    "Step",
    "WriteFile",
    "clearing",
    "perform",
    "refuse_what_cannot_be_written",
]

_UNFINISHED = ".orthanc-gcp-new"

# User and group; None for those of whoever runs this.
Owner = tuple[int, int] | None


@dataclass(frozen=True)
class MakeFolder:
    """Make a folder that only its owner, and a group, may look into."""

    path: Path
    mode: int
    owner: Owner

    def __str__(self) -> str:
        return f"make the folder {self.path}"

    def apply(self) -> None:
        """Make it under another name and rename it, so that it has its mode from the beginning."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = _new(self.path)
        with suppress(FileNotFoundError):
            new.rmdir()
        new.mkdir(0o700)
        if self.owner:
            os.chown(new, *self.owner)
        new.chmod(self.mode)
        new.rename(self.path)


@dataclass(frozen=True)
class WriteFile:
    """Write a file of this package's own."""

    path: Path
    content: bytes
    mode: int
    owner: Owner

    def __str__(self) -> str:
        return f"write {self.path}"

    def apply(self) -> None:
        """Write it under another name, flush it, and rename it (rename(2) replaces in one step)."""
        with _replacing(self.path) as (file, new):
            if self.owner:
                os.fchown(file, *self.owner)
            os.fchmod(file, self.mode)
            _write(file, new, self.content)


@dataclass(frozen=True)
class EditFile:
    """Replace a file of the user's by an edited one of the same mode and owner.

    Attributes
    ----------
    before
        What it said when the edit was made: another's edit in between is not overwritten.
    copy_to
        Where ``before`` is kept.
    changes
        What is changed, for a person.
    """

    path: Path
    before: bytes
    after: bytes
    copy_to: Path | None = None
    changes: tuple[str, ...] = ()

    def __str__(self) -> str:
        what = "; ".join(self.changes)
        kept = f" (what it was is kept in {self.copy_to})" if self.copy_to else ""
        return f"edit {self.path}: {what}{kept}"

    def apply(self) -> None:
        """Keep a copy, then replace the file.

        Raises
        ------
        InstallationError
            Somebody has changed the file since it was read.
        """
        if self.path.read_bytes() != self.before:
            raise InstallationError(f"{self.path} was changed just now: run this again")
        if self.copy_to:
            self._put(self.copy_to, self.before)
        self._put(self.path, self.after)

    def _put(self, path: Path, content: bytes) -> None:
        like = self.path.stat()
        with _replacing(path) as (file, new):
            if (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(file, like.st_uid, like.st_gid)
            shutil.copystat(self.path, new)
            _write(file, new, content)


@dataclass(frozen=True)
class MoveAside:
    """Give a file another name, which is free."""

    path: Path
    to: Path

    def __str__(self) -> str:
        return f"move {self.path} to {self.to}"

    def apply(self) -> None:
        """Rename it, and flush its folder."""
        self.path.rename(self.to)
        _flush(self.path.parent)


@dataclass(frozen=True)
class RemoveFile:
    """Remove a file that says nothing of the user's."""

    path: Path

    def __str__(self) -> str:
        return f"remove {self.path}"

    def apply(self) -> None:
        """Remove it, if it is still there."""
        self.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class RemoveFolder:
    """Remove a folder, which is empty."""

    path: Path

    def __str__(self) -> str:
        return f"remove the folder {self.path}"

    def apply(self) -> None:
        """Remove it; an OSError where something is in it."""
        self.path.rmdir()


Step = MakeFolder | WriteFile | EditFile | MoveAside | RemoveFile | RemoveFolder


def clearing(folders: Iterable[Path]) -> Iterator[Step]:
    """The steps that remove what was not finished when this was killed before."""
    for new in sorted({new for folder in folders for new in folder.glob(f".*{_UNFINISHED}")}):
        yield RemoveFolder(new) if new.is_dir() and not new.is_symlink() else RemoveFile(new)


def perform(steps: Iterable[Step]) -> Iterator[Step]:
    """Do one step after the other; each is given back when it is done.

    Raises
    ------
    InstallationError
        One cannot be done; those before it are.
    """
    for step in steps:
        try:
            step.apply()
        except OSError as error:
            again = "Orthanc can start all the same; run this again once that is corrected"
            raise InstallationError(f"could not {step}: {error.strerror}. {again}") from None
        yield step


def refuse_what_cannot_be_written(steps: Iterable[Step]) -> None:
    """See that every step can be done by whoever runs this.

    Raises
    ------
    InstallationError
        One cannot.
    """
    for step in steps:
        folder = next(each for each in step.path.parents if each.exists())
        if not os.access(folder, os.W_OK | os.X_OK):
            raise _no_right_to(folder)
        if isinstance(step, EditFile):
            # Not even its owner may be meant to write it; and a copy has to belong to them.
            foreign = step.path.stat().st_uid != os.geteuid() and os.geteuid() != 0
            if foreign or not os.access(step.path, os.W_OK):
                raise _no_right_to(step.path)


def _no_right_to(path: Path) -> InstallationError:
    remedy = "its file system is read-only" if os.geteuid() == 0 else "run this as root"
    return InstallationError(f"{path} cannot be written: {remedy}")


def _new(path: Path) -> Path:
    """What is to become a file or folder; Orthanc does not read it, whatever its folder."""
    return path.with_name(f".{path.name}{_UNFINISHED}")


@contextmanager
def _replacing(path: Path) -> Iterator[tuple[int, Path]]:
    """A new file for its descriptor and path, which takes the place of another when it is whole."""
    new = _new(path)
    new.unlink(missing_ok=True)
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        yield file, new
        os.fsync(file)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)
    _flush(path.parent)


def _write(file: int, new: Path, content: bytes) -> None:
    with os.fdopen(os.dup(file), "wb") as written:
        written.write(content)
    os.utime(new)


def _flush(folder: Path) -> None:
    """Let the names in a folder outlast a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
