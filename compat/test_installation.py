"""The README, word for word, on the other Debian releases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from compat.releases import RELEASES, build_wheel, fetch, locked_versions, make_release
from tests.debian.conftest import new_host
from tests.debian.test_readme import TestReadme, copy_checkout
from tests.support.debian import DebianHost

__all__ = ["TestReadme"]


@pytest.fixture(scope="module", params=RELEASES)
def host(request, tmp_path_factory) -> Iterator[DebianHost]:
    """A release with Orthanc, where nobody has installed anything of ours yet."""
    root = make_release(request.param)
    with new_host(tmp_path_factory.mktemp(request.param), None, root) as made:
        made.google.start()
        yield made


@pytest.fixture(scope="module")
def checkout(host) -> Path:
    return copy_checkout(host)


@pytest.fixture(scope="module")
def packages(host, tmp_path_factory) -> dict[str, str]:
    """Where pip finds packages: there is no network to be set up in the release."""
    folder = host.folder / "wheels"
    wheel = build_wheel(folder)
    versions = locked_versions(host.folder)
    constraints = ("--constraint", versions)
    fetch(host.root, folder, *constraints, f"{wheel}[worker]", "hatchling", "editables")
    return {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder),
        "PIP_CONSTRAINT": str(versions),
    }
