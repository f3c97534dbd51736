"""The Orthanc that the plugin is installed into: its user, its plugins, its script."""

from __future__ import annotations

import os
import subprocess  # programs of ours, never by a shell  # nosec B404
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orthanc_gcp.errors import InstallationError
from orthanc_gcp.installation.configuration_files import ConfigurationFiles
from orthanc_gcp.installation.options import NEEDED_PLUGINS, PLUGINS, SCRIPTS, OptionPath, value_of
from orthanc_gcp.orthanc.installation import (
    Service,
    embedded_python,
    library_named,
    plugin_libraries,
    services_of,
)
from orthanc_gcp.plugin.script import pythons

if TYPE_CHECKING:
    import pwd

__all__ = ["Host", "Script", "refuse_other_start"]

_USUAL_FOLDERS = (
    "/usr/share/orthanc/plugins",
    "/usr/local/share/orthanc/plugins",
    "/run/orthanc/plugins",
    "/usr/lib/orthanc",
    "/usr/local/lib/orthanc",
)
_DEBIANS_SAMPLE = ["import orthanc", "orthanc.LogWarning('Hello world from Python!')"]


class Script(Enum):
    """What the script is that the configuration names."""

    NONE = "none"
    SAMPLE = "Debian's example"
    OURS = "the one that is installed here"
    LOADING = "one that loads this package already"
    OWN = "one of the user's own"


@dataclass(frozen=True)
class Host:
    """An Orthanc as it is found.

    Attributes
    ----------
    service
        Who runs it.
    user
        The same user, as the system knows it.
    """

    files: ConfigurationFiles
    service: Service
    user: pwd.struct_passwd

    @classmethod
    def find(cls, path: Path, service: Service) -> Host:
        """Look at the Orthanc that a service runs with a configuration.

        Raises
        ------
        ConfigurationError
            The configuration cannot be read, or Orthanc could not start with it.
        InstallationError
            There is no such user.
        """
        import pwd  # Linux alone has what can be installed into

        try:
            user = pwd.getpwnam(service.user)
        except KeyError:
            raise InstallationError(f"there is no user {service.user} ({service.source})") from None
        # Nobody but the process knows its variables; those of this terminal are the next best.
        environment: Mapping[str, str] = service.environment or os.environ
        return cls(ConfigurationFiles.read(path, environment), service, user)

    @property
    def plugins(self) -> list[str]:
        """The option ``Plugins``.

        Raises
        ------
        InstallationError
            It is no list of strings.
        """
        plugins = value_of(self.files.options, PLUGINS) or []
        if not isinstance(plugins, list) or not all(isinstance(one, str) for one in plugins):
            raise InstallationError("Plugins: expected a list of files and folders")
        return plugins

    def plugins_to_add(self) -> list[str]:
        """The libraries that this Orthanc has and does not load.

        Raises
        ------
        InstallationError
            One that is needed is not there at all.
        """
        loaded = plugin_libraries(self.plugins, self.files.folder)
        usual = plugin_libraries(_USUAL_FOLDERS, Path("/"))
        needed = [name for name in NEEDED_PLUGINS if library_named(loaded, name) is None]
        found = {name: library_named(usual, name) for name in needed}
        missing = [NEEDED_PLUGINS[name] for name, library in found.items() if library is None]
        if missing:
            raise InstallationError(
                f"Orthanc loads no {' and no '.join(name for name in needed if not found[name])}: "
                f"apt-get install {' '.join(missing)}, and run this again"
            )
        return [str(library) for library in found.values()]

    def library(self, name: str) -> Path | None:
        """The library of a plugin, once those are added that are there.

        Raises
        ------
        InstallationError
            A plugin that is needed is not there at all.
        """
        plugins = [*self.plugins, *self.plugins_to_add()]
        return library_named(plugin_libraries(plugins, self.files.folder), name)

    def script(self) -> tuple[OptionPath, Path | None, Script]:
        """The option that names the script, its file, and what that is."""
        for path in SCRIPTS:
            name = value_of(self.files.options, path)
            if isinstance(name, str) and name:
                file = (self.service.working_directory or Path("/")) / name
                return path, file, self._what(file)
        return SCRIPTS[0], None, Script.NONE

    def _what(self, file: Path) -> Script:
        if file == self.files.script:
            return Script.OURS
        try:
            text = file.read_text("utf-8", errors="replace")
        except OSError:
            return Script.OWN
        lines = [line.strip() for line in text.replace('"', "'").splitlines()]
        if list(filter(None, lines)) == _DEBIANS_SAMPLE:
            return Script.SAMPLE
        loads = "orthanc_gcp.plugin" in text or self.files.script.stem in text
        return Script.LOADING if loads else Script.OWN

    def refuse_other_python(self) -> None:
        """See that the Python plugin can load what is installed for this interpreter.

        Raises
        ------
        InstallationError
            It embeds another version.
        """
        library = self.library("OrthancPython")
        embedded = embedded_python(library) if library else None
        own = pythons()
        if embedded is not None and embedded not in own:
            version = "{}.{}".format(*embedded)
            raise InstallationError(
                f"Orthanc's Python plugin ({library}) embeds Python {version}, and this is for "
                f"{', '.join('{}.{}'.format(*one) for one in own)}: install orthanc-gcp with that "
                f"version (python{version} -m venv …), and run its command"
            )

    def refuse_other_user(self) -> None:
        """See that whoever runs this may give files to Orthanc's user.

        Raises
        ------
        InstallationError
            They may not.
        """
        if os.geteuid() not in (0, self.user.pw_uid):
            raise InstallationError(
                f"Orthanc runs as {self.user.pw_name} ({self.service.source}): run this as root"
            )

    def refuse_hidden_package(self) -> None:
        """See that Orthanc's user can run this interpreter, and read this package.

        Raises
        ------
        InstallationError
            That user cannot.
        """
        command = [sys.executable, "-c", "import orthanc_gcp.plugin.host"]
        try:
            done = subprocess.run(  # noqa: S603 - our own interpreter # nosec B603
                command,
                cwd="/",
                capture_output=True,
                encoding="utf-8",
                timeout=60,
                **self._identity(),
            )
            why = done.stderr.strip().rpartition("\n")[2] if done.returncode else ""
        except (OSError, subprocess.TimeoutExpired) as error:
            why = str(error)
        if why:
            raise InstallationError(
                f"the user {self.user.pw_name}, who runs Orthanc, cannot use {sys.executable} "
                f"({Path(sys.executable).resolve()}: {why}): install orthanc-gcp where that user "
                "can read it, such as /opt/orthanc-gcp, with a Python that it can run, such as "
                "/usr/bin/python3"
            )

    def _identity(self) -> dict[str, Any]:
        if os.geteuid() != 0:
            return {}
        groups = os.getgrouplist(self.user.pw_name, self.user.pw_gid)
        return {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": groups}


def refuse_other_start(path: Path) -> None:
    """See that Orthanc is not started with a file of this folder, or with this file's folder.

    What is written into the one would not be read, or would stand there twice.

    Raises
    ------
    InstallationError
        It is.
    """
    if services_of(path):
        return
    others = sorted(path.glob("*.json")) if path.is_dir() else [path.parent]
    for other in others:
        if found := services_of(other):
            raise InstallationError(
                f"Orthanc ({found[0].source}) is started with {other}, not with {path}: "
                f"say --orthanc-config {other}"
            )
