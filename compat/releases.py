"""Debian releases in folders of their own (debootstrap), and the wheel that goes into them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

__all__ = [
    "RELEASES",
    "ROOT",
    "build_wheel",
    "fetch",
    "inside",
    "locked_versions",
    "make_release",
    "run",
]

ROOT = Path(__file__).parents[1]
PLACE = ROOT / ".compat"
PACKAGES = "orthanc orthanc-dicomweb orthanc-python python3-venv curl"
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
        inside(
            root,
            "export DEBIAN_FRONTEND=noninteractive;"
            "apt-get -o Acquire::Check-Valid-Until=false update -qq;"
            f"apt-get install -y -qq --no-install-recommends {PACKAGES}",
        )
    return root


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
