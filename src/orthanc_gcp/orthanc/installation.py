"""How an Orthanc is installed, seen from outside: who runs it, and which plugins it loads.

What runs is read from the kernel's ``/proc`` (proc_pid_exe(5), proc_pid_cmdline(5),
proc_pid_environ(5)), what would be started from systemd's units.
"""

from __future__ import annotations

import os
import subprocess  # programs of ours, never by a shell  # nosec B404
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

from orthanc_gcp.orthanc.libraries import embedded_python, library_named, plugin_libraries
from orthanc_gcp.orthanc.systemd import DEFAULT_UNIT_FOLDERS, service_units
from orthanc_gcp.orthanc.versions import parse_version
from orthanc_gcp.users import name_of, own_id

__all__ = [
    "DEFAULT_EXECUTABLE",
    "DEFAULT_UNIT_FOLDERS",
    "Service",
    "embedded_python",
    "library_named",
    "plugin_libraries",
    "service_of",
    "services_of",
    "version_of",
]

DEFAULT_EXECUTABLE = Path("/usr/sbin/Orthanc")
_EXECUTABLE = "Orthanc"
_VERSION_WITHIN = 10


@dataclass(frozen=True)
class Service:
    """Who runs Orthanc with a configuration.

    Attributes
    ----------
    user
        The name of the user, or the number of one without a name.
    source
        Where that is known from: ``process 123``, ``orthanc.service``, ``--user``.
    pid
        Of the running Orthanc, where one runs with this configuration.
    environment
        The variables of the process, or of the unit.
    working_directory
        Where relative names of files begin, where that is known.
    executable
        What is run.
    is_trusted
        Whether nobody but root and the user of this process can have put that program there: any
        other may call what they run Orthanc, and name any configuration.
    """

    user: str
    source: str
    pid: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    working_directory: Path | None = None
    executable: Path = DEFAULT_EXECUTABLE
    is_trusted: bool = True


def service_of(
    config: Path,
    user: str | None = None,
    *,
    units: Sequence[Path] = DEFAULT_UNIT_FOLDERS,
    processes: Path = Path("/proc"),
) -> Service | None:
    """Who runs Orthanc with a configuration: one that runs comes before a unit that would.

    Parameters
    ----------
    config
        The file or the folder that Orthanc is started with.
    user
        Who it is said to be, whatever else is found.
    units
        The folders of systemd's units.
    processes
        Where the kernel shows the processes.

    Returns
    -------
    Service or None
        None where nobody is found, and nobody is named.
    """
    found = next(iter(services_of(config, units=units, processes=processes)), None)
    if user is None:
        return found
    if found is None:
        return Service(user, "--user")
    return replace(found, user=user, source="--user")


def version_of(executable: Path) -> tuple[int, ...] | None:
    """The version of an Orthanc, as ``--version`` prints it; None where it prints none."""
    try:
        done = subprocess.run(  # noqa: S603 - what the machine runs as Orthanc # nosec B603
            [executable, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_VERSION_WITHIN,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    # "/usr/sbin/Orthanc 1.10.1", then who holds the copyright.
    path, _, version = done.stdout.partition(b"\n")[0].decode(errors="replace").rpartition(" ")
    return parse_version(version) if PurePath(path).name == _EXECUTABLE else None


def services_of(
    config: Path,
    *,
    units: Sequence[Path] = DEFAULT_UNIT_FOLDERS,
    processes: Path = Path("/proc"),
) -> list[Service]:
    """Everybody who runs Orthanc with a configuration: processes, then units."""
    return [*_of_processes(config, processes), *_of_units(config, units)]


def _of_processes(config: Path, folder: Path) -> Iterator[Service]:
    if own_id() is None or not folder.is_dir():  # a folder of that name tells nothing on Windows
        return
    for number in sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdigit()):
        # It may have ended meanwhile, or belong to somebody whose processes cannot be seen.
        with suppress(OSError, ValueError):
            if service := _of_process(config, number, folder / str(number)):
                yield service


def _of_process(config: Path, pid: int, entry: Path) -> Service | None:
    program = str((entry / "exe").readlink()).removesuffix(" (deleted)")
    # In a container of its own, the same names are other files.
    if PurePath(program).name != _EXECUTABLE or not (entry / "root").samefile("/"):
        return None
    arguments = _strings(entry / "cmdline")[1:]
    folder = (entry / "cwd").readlink()
    # As the process sees them: other file systems may be mounted there for it alone.
    if not _names(arguments, entry / "root" / folder.relative_to("/"), config, entry / "root"):
        return None
    pairs = (each.partition("=") for each in _strings(entry / "environ"))
    environment = {key: value for key, _, value in pairs}
    trusted = _is_trusted(Path(program))
    return Service(
        _user_of(entry), f"process {pid}", pid, environment, folder, Path(program), trusted
    )


def _is_trusted(program: Path) -> bool:
    try:
        return program.stat().st_uid in (0, own_id())
    except OSError:
        return False


def _of_units(config: Path, folders: Sequence[Path]) -> Iterator[Service]:
    for unit in service_units(folders):
        program, *arguments = unit.command
        if PurePath(program).name == _EXECUTABLE and _names(
            arguments, unit.working_directory, config
        ):
            user = name_of(int(unit.user)) if unit.user.isdigit() else unit.user
            yield Service(
                user,
                unit.name,
                environment=unit.environment,
                working_directory=unit.working_directory,
                executable=Path(program),
            )


def _names(arguments: Iterable[str], folder: Path, config: Path, root: Path = Path("/")) -> bool:
    """Whether one of the arguments is the configuration, by whatever name."""
    for argument in arguments:
        if argument and not argument.startswith("-"):
            absolute = argument.startswith("/")
            place = root / argument.lstrip("/") if absolute else folder / argument
            with suppress(OSError, ValueError):
                if place.samefile(config):
                    return True
    return False


def _strings(file: Path) -> list[str]:
    return [os.fsdecode(each) for each in file.read_bytes().rstrip(b"\0").split(b"\0")]


def _user_of(entry: Path) -> str:
    """The effective user of a process (proc_pid_status(5))."""
    status = (entry / "status").read_text("utf-8", errors="replace")
    line = next(line for line in status.splitlines() if line.startswith("Uid:"))
    return name_of(int(line.split()[2]))
