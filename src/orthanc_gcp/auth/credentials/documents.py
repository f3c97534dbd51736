"""Credential files: read whole, bounded, with a fingerprint that shows when they change."""

from __future__ import annotations

import base64
import binascii
import contextlib
import errno
import json
import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orthanc_gcp.auth.credentials import mistaken
from orthanc_gcp.errors import CredentialError
from orthanc_gcp.reasons import CredentialReason
from orthanc_gcp.users import user_name

__all__ = ["Document", "inline", "read", "word"]

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
    option : str
        What names it.
    """

    where: str
    fields: dict[str, Any]
    path: Path | None = None
    fingerprint: Fingerprint | None = None
    option: str = ""

    def fault(self, words: str, reason: CredentialReason) -> CredentialError:
        """The error of what is wrong with it."""
        message = f"{self.where}: {words}"
        return CredentialError(message, reason=reason, option=self.option, path=self.path)

    def text(self, field: str, reason: CredentialReason = CredentialReason.MISSING_FIELD) -> str:
        """A field that must be a string.

        Raises
        ------
        CredentialError
            It is missing, empty, or something else.
        """
        value = self.fields.get(field)
        if not isinstance(value, str) or not value:
            found = "is missing" if value is None or value == "" else "is not a string"
            raise self.fault(f"{field} {found}", reason)
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
    empty = Document(f"{option} {path}", {}, path, option=option)
    try:
        with path.open("rb") as file:
            fingerprint = _fingerprint(os.fstat(file.fileno()))
            content = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        raise empty.fault("there is no such file", CredentialReason.MISSING_FILE) from None
    except (IsADirectoryError, PermissionError) as error:
        # Windows calls a folder forbidden. Path.is_dir() would raise what is being handled.
        if not os.path.isdir(path):  # noqa: PTH112
            raise _forbidden(empty, path) from None
        words = f"the file cannot be read: {os.strerror(errno.EISDIR)}"
        raise empty.fault(words, CredentialReason.FOLDER) from error
    except OSError as error:
        words = f"the file cannot be read: {error.strerror}"
        raise empty.fault(words, CredentialReason.UNREADABLE_FILE) from None
    if len(content) > LARGEST_FILE:
        raise empty.fault("the file is far too long", CredentialReason.NOT_JSON)
    return replace(empty, fields=_object(content, empty), fingerprint=fingerprint)


def _forbidden(document: Document, path: Path) -> CredentialError:
    """Who may not read a file, and which folder keeps them from it, if one does."""
    words = f"the file cannot be read: the user {user_name()} may not"
    for place in reversed([path.absolute(), *path.absolute().parents]):
        try:
            place.stat()
        except OSError:
            closed = replace(document, path=place.parent)
            words += f" enter the folder {place.parent}"
            return closed.fault(words, CredentialReason.FORBIDDEN_FOLDER)
    return document.fault(words, CredentialReason.FORBIDDEN_FILE)


def inline(value: str | dict[str, Any], option: str) -> Document:
    """A credential in the configuration itself: an object, its JSON text, or that in Base64.

    Raises
    ------
    CredentialError
        It is none of these.
    """
    if isinstance(value, dict):
        return Document(option, value, option=option)
    empty = Document(option, {}, option=option)
    text = value.strip().encode()
    if not text.startswith(b"{"):
        with contextlib.suppress(binascii.Error, ValueError):
            text = base64.b64decode(text, validate=True)
    return replace(empty, fields=_object(text, empty))


def word(value: Any) -> str:
    """A value from a credential that may be shown: only if it has the form of a type's name."""
    text = str(value)
    return text if text.isascii() and text.isidentifier() and len(text) <= 40 else "of another kind"


def _object(content: bytes, document: Document) -> dict[str, Any]:
    """The fields of a document that has none yet."""
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError):
        fields = None
        otherwise = "" if document.path else "it is neither JSON nor JSON in Base64"
    else:
        otherwise = "expected a JSON object"
    if isinstance(fields, dict):
        return fields
    reason, words = mistaken.of_text(content)
    if reason is CredentialReason.NOT_JSON:
        words = otherwise or words
        reason = reason if document.path else CredentialReason.NOT_JSON_VALUE
    raise document.fault(words, reason)


def _fingerprint(status: os.stat_result) -> Fingerprint:
    return status.st_ino, status.st_mtime_ns, status.st_size
