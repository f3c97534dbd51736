"""The configuration of an Orthanc: its files, their texts, and what they say together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orthanc_gcp.configuration.files import files_of, merged, read_files
from orthanc_gcp.errors import ConfigurationError
from orthanc_gcp.installation import json_text
from orthanc_gcp.plugin.script import FOLDER_SCRIPT, folder_script

__all__ = ["BEFORE", "REMOVED", "ConfigurationFiles", "bytes_of", "text_of"]

# Neither ends in .json: Orthanc reads every such file of its folder.
BEFORE = ".before-orthanc-gcp"
REMOVED = ".removed-by-orthanc-gcp"

_SECTION = "google-cloud-platform.json"


@dataclass(frozen=True)
class ConfigurationFiles:
    """What Orthanc reads when it is started with a file, or a folder.

    Attributes
    ----------
    path
        The file or the folder.
    texts
        Each file that Orthanc reads, through symbolic links, and what it says; bytes that are not
        UTF-8 survive (``surrogateescape``).
    options
        What all of them say together.
    environment
        The variables that Orthanc puts into them.
    """

    path: Path
    texts: Mapping[Path, str] = field(repr=False)
    options: Mapping[str, Any] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)

    @classmethod
    def read(cls, path: Path, environment: Mapping[str, str]) -> ConfigurationFiles:
        """Read them.

        Raises
        ------
        ConfigurationError
            Orthanc could not start with them, or they cannot be read.
        """
        path = path.absolute()
        options = read_files([path], environment)
        try:
            texts = {file.resolve(): text_of(file) for file in files_of(path)}
        except OSError as error:
            raise ConfigurationError(f"{error.filename} cannot be read: {error.strerror}") from None
        return cls(path, texts, options, environment)

    @property
    def is_folder(self) -> bool:
        """Whether every file of a folder is read."""
        return self.path.is_dir()

    @property
    def folder(self) -> Path:
        """Where the files of this package go."""
        return self.path if self.is_folder else self.path.parent

    @property
    def script(self) -> Path:
        """The script for ``PythonScript``: that of the folder of libraries, where there is one.

        Its name is one that Python can import, and not that of the package: Orthanc's Python
        plugin imports the script under it.
        """
        return folder_script() or self.folder / FOLDER_SCRIPT

    @property
    def section_file(self) -> Path:
        """The file of the section: read by Orthanc in a folder, kept aside for a single file."""
        return self.folder / _SECTION

    @property
    def credentials_folder(self) -> Path:
        """Where credentials go by default: Orthanc never reads it as configuration."""
        if self.is_folder:
            return self.path.with_name(f"{self.path.name}-gcp")
        return self.folder / "orthanc-gcp-credentials"

    def folders(self, credentials_folder: Path) -> set[Path]:
        """Every folder that an installation writes into."""
        own = {self.folder, credentials_folder, credentials_folder.parent}
        return own | {file.parent for file in self.texts}

    def file_of(self, option: str) -> Path:
        """The file that has an option; the main one for an option that is nowhere."""
        for wanted in (option, "Plugins"):
            for file, text in self.texts.items():
                if json_text.raw_value(text, (wanted,)) is not None:
                    return file
        return next(iter(self.texts))

    def would_say(self, texts: Mapping[Path, str]) -> dict[str, Any]:
        """What Orthanc would read if it read these files, and they said this.

        Raises
        ------
        ConfigurationError
            Orthanc could not start with them.
        """
        return merged(((path, bytes_of(text)) for path, text in texts.items()), self.environment)


def text_of(file: Path) -> str:
    """What a file says; bytes that are not UTF-8 survive."""
    return file.read_bytes().decode("utf-8", "surrogateescape")


def bytes_of(text: str) -> bytes:
    """What :func:`text_of` has read."""
    return text.encode("utf-8", "surrogateescape")
