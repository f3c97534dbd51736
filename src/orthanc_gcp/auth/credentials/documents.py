"""Credential files: read whole, bounded, with a fingerprint that shows when they change."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orthanc_gcp.auth.credentials import mistaken
from orthanc_gcp.errors import CredentialError
from orthanc_gcp.reasons import CredentialReason

__all__ = ["Document", "inline", "read", "user_name", "word"]

LARGEST_FILE = 1024 * 1024

Fingerprint = tuple[int, int, int]


@dataclass(frozen=True)
class Document:
    """A JSON object that holds a credential.

    Attributes
    ----------
    where : str
        The option and the file, for messages.
    fields : dict
        What it says.
    path, fingerprint
        Where it was read and what the file was like then; None for inline documents.
    """

    where: str
    fields: dict[str, Any]
    path: Path | None = None
    fingerprint: Fingerprint | None = None

    def text(self, field: str) -> str:
        """A field that must be a string.

        Raises
        ------
        CredentialError
            It is missing, empty, or something else.
        """
        value = self.fields.get(field)
        if not isinstance(value, str) or not value:
            found = "is missing" if value is None or value == "" else "is not a string"
            raise CredentialError(
                f"{self.where}: {field} {found}", reason=CredentialReason.MISSING_FIELD
            )
        return value

    def changed(self) -> bool:
        """Whether the file was written or replaced since; a file that is gone is no change."""
        if self.path is None:
            return False
        try:
            return _fingerprint(self.path.stat()) != self.fingerprint
        except OSError:
            return False

    @property
    def written(self) -> datetime | None:
        """When the file was written."""
        if self.fingerprint is None:
            return None
        return datetime.fromtimestamp(self.fingerprint[1] / 1e9, UTC)


def read(path: Path, option: str) -> Document:
    """Read a credential file.

    Raises
    ------
    CredentialError
        It cannot be read, or is not a JSON object.
    """
    where = f"{option} {path}"
    try:
        with path.open("rb") as file:
            fingerprint = _fingerprint(os.fstat(file.fileno()))
            content = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        raise CredentialError(
            f"{where}: there is no such file", reason=CredentialReason.MISSING_FILE
        ) from None
    except PermissionError:
        words = f"the file cannot be read: {_refused(path)}"
        raise CredentialError(f"{where}: {words}", reason=CredentialReason.FORBIDDEN_FILE) from None
    except OSError as error:
        words = f"the file cannot be read: {error.strerror}"
        raise CredentialError(
            f"{where}: {words}", reason=CredentialReason.UNREADABLE_FILE
        ) from None
    if len(content) > LARGEST_FILE:
        raise CredentialError(
            f"{where}: the file is far too long", reason=CredentialReason.NOT_JSON
        )
    return Document(where, _object(content, where), path, fingerprint)


def _refused(path: Path) -> str:
    """Who may not read a file, and what keeps them from it."""
    for place in reversed([path.absolute(), *path.absolute().parents]):
        try:
            place.stat()
        except OSError:
            return f"the user {user_name()} may not enter the folder {place.parent}"
    return f"the user {user_name()} may not"


def user_name() -> str:
    """Whom this process runs as."""
    try:
        import pwd

        return pwd.getpwuid(os.geteuid()).pw_name
    except (ImportError, KeyError):  # on Windows; in a container without such a user
        return str(os.geteuid()) if hasattr(os, "geteuid") else "that runs this"


def inline(value: str | dict[str, Any], option: str) -> Document:
    """A credential in the configuration itself: an object, its JSON text, or that in Base64.

    Raises
    ------
    CredentialError
        It is none of these.
    """
    if isinstance(value, dict):
        return Document(option, value)
    text = value.strip().encode()
    if not text.startswith(b"{"):
        with contextlib.suppress(binascii.Error, ValueError):
            text = base64.b64decode(text, validate=True)
    return Document(option, _object(text, option, "it is neither JSON nor JSON in Base64"))


def word(value: Any) -> str:
    """A value from a credential that may be shown: only if it has the form of a type's name."""
    text = str(value)
    return text if text.isascii() and text.isidentifier() and len(text) <= 40 else "of another kind"


def _object(content: bytes, where: str, otherwise: str = "") -> dict[str, Any]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        pass
    else:
        if isinstance(document, dict):
            return document
        otherwise = "expected a JSON object"
    reason, words = mistaken.of_text(content)
    if reason is CredentialReason.NOT_JSON:
        words = otherwise or words
    raise CredentialError(f"{where}: {words}", reason=reason)


def _fingerprint(status: os.stat_result) -> Fingerprint:
    return status.st_ino, status.st_mtime_ns, status.st_size
