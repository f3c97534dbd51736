"""A configuration that is installed into and out of, in the process of the test."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from orthanc_gcp.configuration.files import read_files
from orthanc_gcp.installation.configuration_files import ConfigurationFiles
from orthanc_gcp.installation.host import Host
from orthanc_gcp.installation.install import plan_installation
from orthanc_gcp.installation.section import NewAccount
from orthanc_gcp.installation.steps import perform
from orthanc_gcp.installation.undo import plan_removal
from orthanc_gcp.orthanc.installation import Service
from tests.support.debian_orthanc import USER

__all__ = ["Site", "clear_away"]


class Site:
    """One configuration that is installed into and out of, in this process."""

    def __init__(self, config: Path, credential: Path | None = None) -> None:
        self.config = config
        self.folder = config.parent
        self._credential = credential

    def install(self) -> None:
        host = Host.find(self.config, Service(USER, "--user"))
        account = self._credential and NewAccount("a", "p", "l", "d", "s", str(self._credential))
        for _ in perform(plan_installation(host, account, self.credentials).steps):
            pass

    def uninstall(self) -> None:
        files = ConfigurationFiles.read(self.config, {})
        for _ in perform(plan_removal(files, self.credentials)[0]):
            pass

    @property
    def credentials(self) -> Path:
        return self.folder / "credentials"

    def see_that_orthanc_could_start(self) -> dict[str, Any]:
        options = read_files([self.config])
        script = Path(options["PythonScript"])
        assert script.read_text()
        return options


def clear_away(site: Site) -> None:
    """What an uninstallation keeps."""
    shutil.rmtree(site.credentials)
    for file in site.folder.rglob("*.removed-by-orthanc-gcp*"):
        file.unlink()
