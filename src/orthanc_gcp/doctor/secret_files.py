"""Who else may read or change a file that holds a secret (POSIX modes and owners)."""

from __future__ import annotations

import json
import shlex
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from orthanc_gcp.auth.credentials.documents import Document
from orthanc_gcp.doctor.file_remedies import close_to_others
from orthanc_gcp.users import has_file_modes, name_of, own_id, user_name

__all__ = ["Exposure", "exposed_file", "exposure", "of_modes"]

_KEY = "the key of its certificate"


@dataclass(frozen=True)
class Exposure:
    """What somebody else could do with a file, and the command that ends it.

    Attributes
    ----------
    is_short_lived
        Whether what is in it expires by itself, as the tokens do that Kubernetes writes for all
        users of a container.
    """

    words: str
    remedy: str
    is_short_lived: bool = False


def exposed_file(document: Document) -> tuple[str, Exposure] | None:
    """The first of the files of a credential that others may read or change, and where it stands.

    Besides the file itself these are those that it names: of a token, or of a private key.
    """
    own = [(document.path, document.where, False)] if document.path else []
    for path, where, is_short_lived in (*own, *_referenced(document)):
        try:
            found = exposure(path)
        except OSError:  # that it cannot be read is said where it is used
            continue
        if found is not None:
            return where, replace(found, is_short_lived=is_short_lived)
    return None


def of_modes() -> str:
    """What is to be said of a file in which nothing was found, for one line of a check."""
    return "" if has_file_modes() else "; who else may read it was not checked: see its properties"


def _referenced(document: Document) -> Iterator[tuple[Path, str, bool]]:
    """The files that the file of a workload identity names (Google, "Workload Identity")."""
    source = document.fields.get("credential_source")
    executable, certificate = _field(source, "executable"), _field(source, "certificate")
    named = {
        _KEY: _certificate_key(certificate),
        "credential_source.file": _field(source, "file"),
        "output_file": _field(executable, "output_file"),
    }
    for what, file in named.items():
        if isinstance(file, str) and file:
            yield Path(file), f"{document.where}: {what}: {file}", what != _KEY


def _certificate_key(certificate: object) -> object:
    """The file of the private key that the configuration of a certificate names."""
    location = _field(certificate, "certificate_config_location")
    try:
        configuration = json.loads(Path(location).read_bytes()) if isinstance(location, str) else {}
    except (OSError, ValueError, RecursionError):
        return None
    return _field(_field(_field(configuration, "cert_configs"), "workload"), "key_path")


def _field(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None


def exposure(path: Path) -> Exposure | None:
    """What others than its owner and its group may do with a file; None for nothing.

    Its owner has to be the user that asks, or root: whoever else owns it may change it at any time.

    Raises
    ------
    OSError
        The file, or its folder, cannot be looked at.
    """
    if not has_file_modes():
        return None
    found, quoted = path.stat(), shlex.quote(str(path))
    if found.st_mode & 0o007:
        return Exposure("every user of this machine may read it", close_to_others(path))
    if found.st_mode & stat.S_IWGRP:
        return Exposure("its group may change it", f"chmod g-w {quoted}")
    if found.st_uid not in (0, own_id()):
        return Exposure(
            f"it belongs to {name_of(found.st_uid)}, who may change it",
            f"chown {user_name()} {quoted}, or check as the user that Orthanc runs as",
        )
    folder = path.parent.stat()
    if folder.st_mode & stat.S_IWOTH and not folder.st_mode & stat.S_ISVTX:
        return Exposure(
            "every user of this machine may put another in its place",
            f"chmod o-w {shlex.quote(str(path.parent))}",
        )
    return None
