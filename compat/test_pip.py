"""The page on packages, where it installs by pip, word for word: ``make compat``, as root."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from compat.releases import RELEASES, build_wheel, fetch, locked_versions, make_release
from tests.debian.conftest import new_host
from tests.support.debian import CREDENTIALS, DebianHost
from tests.support.documents import ROOT, blocks

ACCOUNT = next(block for block in blocks(ROOT / "README.md") if block.place)
COMMANDS = next(
    block.text.splitlines()
    for block in blocks(ROOT / "docs" / "packages.md")
    if "pip install" in block.text
)


@pytest.fixture(params=RELEASES)
def host(request, tmp_path) -> Iterator[DebianHost]:
    """A release with Orthanc, where nobody has installed anything of ours yet."""
    with new_host(tmp_path, None, make_release(request.param)) as made:
        made.google.start()
        yield made


@pytest.fixture
def checkout(host) -> Path:
    """This repository in a folder of its own."""
    folder = host.folder / "orthanc-gcp"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "test-logs", "results", "build", "dist")
    shutil.copytree(ROOT, folder, ignore=ignored)
    return folder


@pytest.fixture
def packages(host) -> dict[str, str]:
    """Where pip finds packages: there is no network to be set up in the release."""
    folder = host.folder / "wheels"
    wheel = build_wheel(folder)
    versions = locked_versions(host.folder)
    fetch(
        host.root, folder, *("--constraint", versions), f"{wheel}[worker]", "hatchling", "editables"
    )
    return {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder),
        "PIP_CONSTRAINT": str(versions),
    }


def test_the_installation(host, checkout, packages):
    for command in COMMANDS:
        done = host.run(command, folder=checkout, internet=True, **packages)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    host.give_key(Path(CREDENTIALS / "dicom-osimis.json").name)
    host.path(ACCOUNT.place).write_text(ACCOUNT.text)
    host.restart()
    host.wait_for_servers("my-google")
    done = host.run("/opt/orthanc-gcp/bin/orthanc-gcp install --uninstall")
    assert done.returncode == 0, done.stderr
    host.restart()
    assert host.curl("/gcp/accounts") is None
