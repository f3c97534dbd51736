"""Configurations of Debian's, which tests may change."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.debian_orthanc import DebianOrthanc, copy
from tests.support.installed_site import Site
from tests.support.keys import service_account, write
from tests.support.public_installation import public_folder


@pytest.fixture
def debian() -> Iterator[DebianOrthanc]:
    if os.geteuid() != 0:
        pytest.skip("only root can run Orthanc as its user")
    with public_folder() as folder:
        orthanc = DebianOrthanc(folder)
        yield orthanc
        if orthanc.running:
            orthanc.stop()


@pytest.fixture(params=["folder", "single file"])
def site(request: Any, debian: DebianOrthanc, tmp_path: Path) -> Site:
    """With an account, whose credential is copied."""
    home = debian.folder / "site"
    home.mkdir(mode=0o755)
    credential = Path(write(tmp_path / "key.json", service_account("http://127.0.0.1:1/")))
    if request.param == "folder":
        shutil.copytree(debian.configuration, home / "orthanc", copy_function=copy)
        debian.configuration_file = home / "orthanc"
        return Site(home / "orthanc", credential)
    text = (debian.configuration / "orthanc.json").read_text().rstrip().removesuffix("}").rstrip()
    text += ',\n  "PythonScript" : "/etc/orthanc/sample.py"\n}\n'
    (home / "orthanc.json").write_text(text)
    debian.configuration_file = home / "orthanc.json"
    return Site(home / "orthanc.json", credential)
