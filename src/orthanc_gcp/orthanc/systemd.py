"""systemd's service units, as far as they say who runs what (systemd.unit(5), systemd.exec(5))."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["DEFAULT_UNIT_FOLDERS", "Unit", "service_units"]

# In systemd's order: a unit in one of them hides those of its name in the later ones.
DEFAULT_UNIT_FOLDERS = tuple(
    Path(folder, "systemd/system")
    for folder in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
)
_LARGEST = 1024 * 1024
# What may stand before the program in ExecStart.
_PREFIXES = "-@:+!|"


@dataclass(frozen=True)
class Unit:
    """A service: its program with its arguments, and what that runs with."""

    name: str
    command: tuple[str, ...]
    user: str = "root"
    working_directory: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


def service_units(folders: Sequence[Path] = DEFAULT_UNIT_FOLDERS) -> Iterator[Unit]:
    """Each service that has a command, with its drop-ins; what cannot be read is left out."""
    for name, file in _first_of_each_name(folders, "*.service").items():
        drop_ins = _first_of_each_name([each / f"{name}.d" for each in folders], "*.conf")
        files = [file, *(drop_ins[each] for each in sorted(drop_ins))]
        settings = _settings(files)
        for command in settings.get("ExecStart", []):
            if words := _words(command.lstrip(_PREFIXES)):
                yield _unit(name, words, settings)


def _first_of_each_name(folders: Iterable[Path], pattern: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in folders:
        with suppress(OSError):
            for file in sorted(folder.glob(pattern)):
                found.setdefault(file.name, file)
    return found


def _settings(files: Iterable[Path]) -> dict[str, list[str]]:
    """The values of each setting of ``[Service]``; an empty one takes back those before it."""
    settings: dict[str, list[str]] = {}
    for file in files:
        for key, value in _assignments(_text(file)):
            if value:
                settings.setdefault(key, []).append(value)
            else:
                settings.pop(key, None)
    return settings


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    section, begun = "", ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith(("#", ";")):
            continue
        if line.endswith("\\"):
            begun += line[:-1] + " "
            continue
        line, begun = begun + line, ""
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line:
            key, _, value = line.partition("=")
            yield key.strip(), value.strip()


def _unit(name: str, words: list[str], settings: Mapping[str, list[str]]) -> Unit:
    def last(key: str, default: str) -> str:
        return settings.get(key, [default])[-1]

    folder = last("WorkingDirectory", "/").removeprefix("-")
    return Unit(
        name,
        tuple(words),
        last("User", "root"),
        Path(folder) if folder.startswith("/") else Path("/"),
        _environment(settings),
    )


def _environment(settings: Mapping[str, list[str]]) -> dict[str, str]:
    """The variables of ``Environment=``; those of files stand above them."""
    assigned = [word for value in settings.get("Environment", []) for word in _words(value)]
    for file in settings.get("EnvironmentFile", []):
        lines = map(str.strip, _text(Path(file.removeprefix("-"))).splitlines())
        assigned += [line for line in lines if not line.startswith(("#", ";"))]
    pairs = (word.partition("=") for word in assigned if "=" in word)
    return {key.strip(): _unquoted(value.strip()) for key, _, value in pairs}


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value


def _words(value: str) -> list[str]:
    try:
        return shlex.split(value)
    except ValueError:
        return []


def _text(file: Path) -> str:
    """What a file says; nothing where it cannot be read, or is a device: so is a masked unit."""
    try:
        if not file.is_file():
            return ""
        with file.open("rb") as opened:
            return opened.read(_LARGEST).decode(errors="replace")
    except OSError:
        return ""
