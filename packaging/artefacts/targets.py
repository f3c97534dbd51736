"""The machines and Pythons that folders are made for."""

from __future__ import annotations

from dataclasses import dataclass

from packaging.markers import default_environment

__all__ = ["LINUX", "PYTHONS", "WINDOWS", "Target"]

PYTHONS = ((3, 11), (3, 12), (3, 13), (3, 14))
"""Those of Debian 12, 13 and sid, of Orthanc's official images, and of Windows' installers."""


@dataclass(frozen=True)
class Target:
    """A kind of machine.

    Attributes
    ----------
    name
        In the name of the archive.
    platform
        As ``sysconfig.get_platform()`` names it.
    wheels
        The tags of wheels that run there (PEP 600 for Linux), the preferred ones first.
    markers
        What the markers of requirements say there (PEP 508).
    """

    name: str
    platform: str
    wheels: tuple[str, ...]
    markers: tuple[tuple[str, str], ...]

    def environment(self, python: tuple[int, int]) -> dict[str, str]:
        """All that a marker can ask for, with a Python there."""
        version = "{}.{}".format(*python)
        own = {"python_version": version, "python_full_version": f"{version}.0"}
        return {**default_environment(), **dict(self.markers), **own}


LINUX = Target(
    "linux-x86_64",
    "linux-x86_64",
    # Debian 12 has glibc 2.36.
    ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64"),
    (("sys_platform", "linux"), ("os_name", "posix"), ("platform_system", "Linux")),
)
WINDOWS = Target(
    "windows-x86_64",
    "win-amd64",
    ("win_amd64",),
    (
        *(("sys_platform", "win32"), ("os_name", "nt")),
        *(("platform_system", "Windows"), ("platform_machine", "AMD64")),
    ),
)
