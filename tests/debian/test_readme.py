"""The README, done word for word on a fresh Debian with Orthanc."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.debian.conftest import new_host
from tests.support.debian import DebianHost
from tests.support.debian_package import small_package
from tests.support.documents import ROOT, Block, blocks
from tests.support.site import make_instance

README = (ROOT / "README.md").read_text()
BLOCKS = list(blocks(ROOT / "README.md"))
TRY, INSTALL, ACCOUNT, SEARCH, SEND, CHECK, OWN_SCRIPT = range(7)


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """A Debian with Orthanc, where nobody has installed anything of ours yet."""
    with new_host(tmp_path_factory.mktemp("readme"), None) as made:
        # Nobody but its systemctl starts Orthanc there (invoke-rc.d(8)).
        policy = made.path("/usr/sbin/policy-rc.d")
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        made.google.start()
        yield made


@pytest.fixture(scope="module")
def downloads(host, tmp_path_factory) -> Path:
    """A folder with the package, of which the libraries are for this Python alone, and the key."""
    return downloaded(host, small_package(tmp_path_factory.mktemp("package")))


def downloaded(host: DebianHost, package: Path) -> Path:
    """What the reader has, in a folder of the host."""
    folder = host.folder / "downloads"
    folder.mkdir()
    shutil.copy(package, folder)
    (folder / "dicom-osimis.json").write_text(host.google.credential())
    return folder


def run(host: DebianHost, block: Block, folder: Path):
    """Do what a block says."""
    done = None
    for command in block.text.replace("\\\n", " ").splitlines():
        done = host.run(command, folder=folder)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    assert done is not None
    return done


class TestReadme:
    """From nothing to a search, and back: each step needs those before it."""

    def test_the_installation(self, host, downloads):
        run(host, BLOCKS[INSTALL], downloads)
        host.wait_for_orthanc()
        host.wait_for_log("account my-google: published as DICOMweb server")

    def test_the_account_is_as_it_is_shown(self, host):
        written = host.path(BLOCKS[ACCOUNT].place).read_text()
        lines = [line for line in written.splitlines() if not line.lstrip().startswith("//")]
        assert json.loads("\n".join(lines)) == json.loads(BLOCKS[ACCOUNT].text)
        # As it is shown, it does as well.
        host.path(BLOCKS[ACCOUNT].place).write_text(BLOCKS[ACCOUNT].text)
        host.restart()

    def test_the_first_search_finds_an_empty_store(self, host, downloads):
        host.wait_for_servers("my-google")
        answer = run(host, BLOCKS[SEARCH], downloads).stdout
        assert json.loads(answer)["HttpStatus"] == 400
        assert json.loads(answer)["OrthancError"] == "Bad file format"

    def test_sending_and_searching(self, host, downloads):
        (downloads / "image.dcm").write_bytes(make_instance())
        host.curl("/instances", "--data-binary", f"@{downloads}/image.dcm")
        lists, sends, searches = BLOCKS[SEND].text.splitlines()
        (study,) = json.loads(host.run(lists).stdout)
        sent = json.loads(host.run(sends.replace("ORTHANC-STUDY", study)).stdout)
        assert sent["InstancesCount"] == "1"
        (found,) = json.loads(host.run(searches).stdout)
        assert "0020000D" in found

    def test_check(self, host, downloads):
        done = run(host, BLOCKS[CHECK], downloads)
        assert "the DICOMweb plugin reaches the store" in done.stdout

    def test_beside_a_script_of_the_users_own(self, host):
        own = (
            "import orthanc\n"
            + BLOCKS[OWN_SCRIPT].text
            + "    orthanc.LogWarning('mine, too')\n"
            + "orthanc.RegisterOnChangeCallback(on_change)\n"
        )
        assert len([line for line in BLOCKS[OWN_SCRIPT].text.splitlines() if line]) == 5
        host.path("/usr/local/lib/own.py").write_text(own)
        host.edit("python.json", "PythonScript", "/usr/local/lib/own.py")
        before = len(host.log)
        host.restart()
        host.wait_for_servers("my-google")
        assert "mine, too" in host.log[before:]
        assert host.run(BLOCKS[CHECK].text).returncode == 0

    def test_a_script_that_still_loads_it_outlives_the_package(self, host):
        """Orthanc would not start where the import fails."""
        host.run("cp /usr/local/lib/own.py /etc/orthanc/own.py")
        host.edit("python.json", "PythonScript", "/etc/orthanc/own.py")
        done = host.run("apt-get remove --yes orthanc-gcp")
        assert done.returncode == 0, done.stdout + done.stderr
        before = len(host.log)
        host.restart()
        assert "orthanc-gcp was removed" in host.log[before:]
        assert "mine, too" in host.log[before:]
        assert host.curl("/gcp/accounts") is None

    def test_purge_leaves_a_working_orthanc(self, host):
        host.edit("python.json", "PythonScript", "/etc/orthanc/sample.py")
        host.run("rm /etc/orthanc/own.py")
        done = host.run("apt-get purge --yes orthanc-gcp")
        assert done.returncode == 0, done.stdout + done.stderr
        assert not host.path("/usr/lib/orthanc-gcp").exists()
        assert not host.path("/etc/orthanc/google-cloud-platform.json").exists()
        assert host.path("/etc/orthanc-gcp/dicom-osimis.json").exists()
        before = len(host.log)
        host.restart()
        assert "orthanc-gcp" not in host.log[before:]
        assert host.curl("/gcp/accounts") is None


@pytest.mark.parametrize("command", BLOCKS[TRY].text.splitlines())
def test_the_two_commands_are_there(command):
    subprocess.run([*command.split(), "--dry-run"], cwd=ROOT, check=True, capture_output=True)
