"""Configuration files as Orthanc reads them: comments, variables, folders that are merged."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from orthanc_gcp.errors import ConfigurationError

__all__ = ["folder_of", "read_files"]

_VARIABLE = re.compile(r"\$\{([^{}:]+?)(?::-([^{}]*))?\}")
_STRING_OR_COMMENT = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|/\*.*?\*/', re.DOTALL)


def read_files(
    paths: Iterable[Path], environment: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """The configuration that Orthanc would run with, given the same files and folders.

    Raises
    ------
    ConfigurationError
        A file cannot be read or is not JSON; two files give the same option.
    """
    merged: dict[str, Any] = {}
    for path in paths:
        for file in _files(path):
            for key, value in _parsed(file, environment).items():
                _merge(merged, key, value, file)
    return merged


def folder_of(paths: list[Path]) -> Path:
    """Where the files of relative options are looked for: beside the configuration."""
    first = paths[0].resolve()
    return first if first.is_dir() else first.parent


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix == ".json")
    if not files:
        raise ConfigurationError(f"{path}: there is no .json file in this folder")
    return files


def _parsed(file: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    try:
        text = file.read_text("utf-8")
        document = json.loads(_without_comments(_substituted(text, environment)))
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ConfigurationError(f"{file}: not JSON at {where}: {error.msg}") from None
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise ConfigurationError(f"{file}: not JSON in UTF-8") from None
    if not isinstance(document, dict):
        raise ConfigurationError(f"{file}: expected a JSON object")
    return document


def _substituted(text: str, environment: Mapping[str, str]) -> str:
    """``${NAME}`` and ``${NAME:-default}``; what is not set becomes empty, as in Orthanc."""
    return _VARIABLE.sub(lambda found: environment.get(found[1], found[2] or ""), text)


def _without_comments(text: str) -> str:
    """JSON without ``//`` and ``/* */``; line numbers stay what they are."""

    def kept(found: re.Match[str]) -> str:
        return found[0] if found[0].startswith('"') else re.sub(r"[^\n]", " ", found[0])

    return _STRING_OR_COMMENT.sub(kept, text)


def _merge(merged: dict[str, Any], key: str, value: Any, file: Path) -> None:
    if key in merged:
        raise ConfigurationError(
            f"{file}: the option {key} stands in two files of the configuration"
        )
    merged[key] = value
