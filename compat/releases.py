"""Debian releases in folders of their own (debootstrap), and the wheel that goes into them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "RELEASES",
    "ROOT",
    "build_wheel",
    "fetch",
    "inside",
    "install",
    "install_wheel",
    "locked_versions",
    "make_release",
    "orthanc_program",
    "run",
    "shared_folder",
]

ROOT = Path(__file__).parents[1]
PLACE = ROOT / ".compat"
PACKAGES = "orthanc orthanc-dicomweb orthanc-python python3-venv curl"
APT = "export DEBIAN_FRONTEND=noninteractive; apt-get -o Acquire::Check-Valid-Until=false"
RELEASES = ("trixie", "sid")


def run(*command: str | Path, **options: object) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True, **options)
    return done.stdout


def inside(root: Path, script: str) -> str:
    return run("chroot", root, "sh", "-ec", script)


def make_release(name: str) -> Path:
    """Return the root of a release with Orthanc, which is installed when it is not there yet."""
    root = PLACE / name
    if not all((root / "usr" / name).exists() for name in ("sbin/Orthanc", "bin/curl")):
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        run("debootstrap", "--variant=minbase", name, root)
        denying = root / "usr/sbin/policy-rc.d"
        denying.write_text("#!/bin/sh\nexit 101\n")
        denying.chmod(0o755)
        install(root, PACKAGES)
    return root


def install(root: Path, packages: str) -> None:
    """Install Debian packages into a release."""
    inside(root, f"{APT} update -qq; apt-get install -y -qq --no-install-recommends {packages}")


def build_wheel(folder: Path) -> Path:
    """Build the tree's wheel into a folder, which holds nothing else then."""
    shutil.rmtree(folder, ignore_errors=True)
    run(*(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder), ROOT)
    (wheel,) = folder.glob("orthanc_gcp-*.whl")
    return wheel


def locked_versions(folder: Path) -> Path:
    """The locked versions as constraints (with hashes, pip would refuse the wheel itself)."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    file = folder / "constraints.txt"
    file.write_text("\n".join(line.rstrip(" \\") for line in lines if "==" in line))
    return file


def fetch(root: Path, wheels: Path, *requirements: str | Path) -> None:
    """Fetch wheels for a release's Python; in there is no network to be set up."""
    code = 'import sys; print(*sys.version_info[:2], sep=".")'
    version = inside(root, f"python3 -c '{code}'").strip()
    platforms = [f"--platform=manylinux_2_{minor}_x86_64" for minor in (17, 28, 34)]
    run(
        *(sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:"),
        *(f"--python-version={version}", *platforms, "--dest", wheels, *requirements),
    )


def install_wheel(root: Path, venv: str, extra: str, *more: str) -> None:
    """Install the tree's wheel with an extra, and more, into an environment of a release."""
    wheels = root / f"wheels-{extra}"
    wheel = build_wheel(wheels)
    fetch(root, wheels, "--constraint", locked_versions(wheels), f"{wheel}[{extra}]", *more)
    found = f"--no-index --find-links /{wheels.name} '/{wheels.name}/{wheel.name}[{extra}]'"
    inside(
        root, f"python3 -m venv --clear {venv}; {venv}/bin/pip install -q {found} {' '.join(more)}"
    )


@contextmanager
def shared_folder(root: Path, folder: Path) -> Iterator[None]:
    """Have a folder at the same path inside a release."""
    there = root / folder.relative_to("/")
    there.mkdir(parents=True, exist_ok=True)
    run("mount", "--bind", folder, there)
    try:
        yield
    finally:
        run("umount", there)


def orthanc_program(root: Path, folder: Path) -> str:
    """Write what starts the Orthanc of a release, on a host that ``HOST_NAME`` names."""
    program = folder / "Orthanc"
    script = f'hostname "${{HOST_NAME:-localhost}}" && exec chroot {root} /usr/sbin/Orthanc "$@"'
    program.write_text(f"#!/bin/sh\nexec unshare --uts sh -c '{script}' sh \"$@\"\n")
    program.chmod(0o755)
    return str(program)
