"""The files and folders of Orthanc's configuration, read as Orthanc reads them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orthanc_gcp.configuration.json_reader import read_json
from orthanc_gcp.configuration.variables import substituted
from orthanc_gcp.errors import ConfigurationError

__all__ = ["CREDENTIAL_FIELDS", "files_of", "folder_of", "merged", "read_files", "unreadable"]

CREDENTIAL_FIELDS = ("private_key", "refresh_token", "client_secret")
"""What stands in Google's files of credentials, and never in a configuration."""
MAX_BYTES = 16 * 1024 * 1024


def read_files(
    paths: Iterable[Path], environment: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """The configuration that Orthanc would run with, given the same files and folders.

    Of a folder, Orthanc reads what ends in ``.json``, in whatever case and hidden too, links to
    files included, but no folder within it. The same option may not stand in two files, sections
    neither. Orthanc itself takes one path, and runs with its defaults on a folder without files.

    Raises
    ------
    ConfigurationError
        A file cannot be read, or Orthanc would refuse it; two files give the same option.
    """
    files = (file for path in paths for file in files_of(path))
    return merged(((file, _content(file)) for file in files), environment)


def merged(
    contents: Iterable[tuple[Path, bytes]], environment: Mapping[str, str]
) -> dict[str, Any]:
    """What Orthanc would read in files with these contents; raises as :func:`read_files` does."""
    options: dict[str, Any] = {}
    origins: dict[str, Path] = {}
    for file, content in contents:
        found = _options(file, content, environment)
        _check_twice(found, file, origins)
        origins |= dict.fromkeys(found, file)
        options |= found
    return options


def folder_of(paths: Sequence[Path]) -> Path:
    """Where the files of relative options are looked for: beside the configuration."""
    first = paths[0].resolve()
    return first if first.is_dir() else first.parent


def files_of(path: Path) -> list[Path]:
    """The file itself, or those of a folder that Orthanc reads, in the order of their names.

    Raises
    ------
    ConfigurationError
        The folder cannot be read, or has no file that Orthanc reads.
    """
    try:
        if not path.is_dir():
            return [path]
        files = sorted(file for file in path.iterdir() if file.name.lower().endswith(".json"))
        files = [file for file in files if not file.is_dir()]
    except OSError as error:
        raise unreadable(path, error) from None
    if not files:
        raise ConfigurationError(f"{path}: there is no .json file in this folder")
    return files


def _options(file: Path, content: bytes, environment: Mapping[str, str]) -> dict[str, Any]:
    try:
        return read_json(substituted(content, environment))
    except ConfigurationError as error:
        raise ConfigurationError(f"{file}: {error}") from None


def _content(file: Path) -> bytes:
    try:
        # To open a pipe would wait for somebody who writes into it.
        if not stat.S_ISREG(file.stat().st_mode):
            raise ConfigurationError(f"{file}: this is no regular file, which Orthanc refuses")
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise unreadable(file, error) from None
    if len(content) > MAX_BYTES:
        raise ConfigurationError(f"{file}: larger than {MAX_BYTES // 1024 // 1024} MiB")
    return content


def unreadable(path: Path, error: OSError) -> ConfigurationError:
    """What is said of a file or folder that cannot be read, and what to do about it."""
    message = f"{error.filename or path}: cannot be read: {error.strerror}"
    if isinstance(error, PermissionError):
        message += "; run this as root, or as the user that Orthanc runs as"
    return ConfigurationError(message)


def _check_twice(options: Iterable[str], file: Path, origins: Mapping[str, Path]) -> None:
    twice = [name for name in options if name in origins]
    if not twice:
        return
    name, other = twice[0], origins[twice[0]]
    if not set(CREDENTIAL_FIELDS).isdisjoint(twice):
        raise ConfigurationError(
            f"{other} and {file} look like files of credentials, and Orthanc reads every .json "
            "file of this folder as configuration: move them out of it, such as to /etc/orthanc-gcp"
        )
    option = name if name.isprintable() else repr(name)
    raise ConfigurationError(
        f"{file}: the option {option} stands in two files of the configuration, in {other} too"
    )
