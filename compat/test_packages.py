"""Debian's package and the folder for all, as people install them: ``make compat``, as root.

Each is made once of this tree, and used in folders of Debian 12, 13 and sid in which there is
Orthanc and nothing of ours.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from artefacts.__main__ import make
from artefacts.source import ROOT, Source
from compat.releases import install, make_release, run
from tests.debian import test_readme
from tests.debian.conftest import new_host
from tests.debian.test_readme import ACCOUNT, BLOCKS, INSTALL, README, downloaded
from tests.support.debian import VENV, DebianHost
from tests.support.documents import Block, blocks
from tests.support.site import make_instance

ALL_RELEASES = ("bookworm", "trixie", "sid")
PACKAGES = list(blocks(ROOT / "docs" / "packages.md"))
WORK = ROOT / "build"
# What invoke-rc.d asks before it restarts Orthanc (invoke-rc.d(8)): the host's systemctl does it.
RESTARTING = """#!/bin/sh
case "$*" in *orthanc*restart*) systemctl restart orthanc ;; esac
exit 101
"""


@pytest.fixture(scope="module")
def artefacts(tmp_path_factory) -> dict[str, Path]:
    """What ``make package`` makes for Linux, by the ends of the names."""
    made = make(["deb", "zip"], Source(), tmp_path_factory.mktemp("dist"), WORK)
    return {file.suffix: file for file in made}


def work_beside(folder: Path) -> Path:
    """Another folder to work in, with the wheels that are there already."""
    work = folder / "work"
    work.mkdir()
    (work / "wheels").symlink_to(WORK / "wheels")
    return work


@contextmanager
def host_of(release: str, folder: Path) -> Iterator[DebianHost]:
    with new_host(folder, None, make_release(release)) as made:
        policy = made.path("/usr/sbin/policy-rc.d")
        policy.write_text(RESTARTING)
        policy.chmod(0o755)
        made.google.start()
        yield made


@pytest.fixture(scope="module", params=ALL_RELEASES)
def host(request, tmp_path_factory) -> Iterator[DebianHost]:
    """A release with Orthanc, where nobody has installed anything of ours yet."""
    with host_of(request.param, tmp_path_factory.mktemp(request.param)) as made:
        yield made


@pytest.fixture(scope="module")
def downloads(host, artefacts) -> Path:
    return downloaded(host, artefacts[".deb"])


@pytest.fixture(params=ALL_RELEASES)
def fresh(request, tmp_path) -> Iterator[DebianHost]:
    """The same for one test."""
    with host_of(request.param, tmp_path) as made:
        yield made


def do(host: DebianHost, command: str, folder: Path | str = "/") -> str:
    done = host.run(command, folder=folder)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def commands(block: Block) -> list[str]:
    return block.text.replace("\\\n", " ").splitlines()


def configure(host: DebianHost) -> None:
    """The three lines of the README, by hand."""
    for option, file in {
        "PythonScript": "python.json",
        "HttpsCACertificates": "orthanc.json",
    }.items():
        (value,) = re.findall(rf'"{option}"\s:\s"([^"]+)"', README)
        host.edit(file, option, value)
    host.path(BLOCKS[ACCOUNT].place).write_text(BLOCKS[ACCOUNT].text)


class TestReadme(test_readme.TestReadme):
    """The README word for word; then what else people do with a package."""

    def test_it_is_installed_again_with_its_account(self, host, downloads):
        # Whoever has purged it has the section no more.
        for command in commands(BLOCKS[INSTALL]):
            do(host, command, downloads)
        host.wait_for_servers("my-google")
        do(host, "apt-get remove --yes orthanc-gcp")
        do(host, commands(BLOCKS[INSTALL])[0], downloads)
        assert "nothing is to be done" not in do(host, "orthanc-gcp install --dry-run")

    def test_three_lines_by_hand(self, host):
        """They are what ``install`` makes, so nothing is left to be done."""
        configure(host)
        assert "nothing is to be done" in do(host, "orthanc-gcp install")
        host.restart()
        host.wait_for_servers("my-google")

    def test_the_libraries_left_out_are_missed_by_nothing(self, host):
        """Each module of the package is imported with what is shipped, but the emulator's."""
        script = (
            "import importlib, pkgutil, orthanc_gcp\n"
            "for one in pkgutil.walk_packages(orthanc_gcp.__path__, 'orthanc_gcp.'):\n"
            "    if '.emulator' not in one.name and not one.name.endswith('__main__'):\n"
            "        try:\n"
            "            importlib.import_module(one.name)\n"
            "        except ImportError as error:\n"
            "            assert 'emulator' in str(error.path) or error.name == 'pydicom.data'\n"
        )
        library = "/usr/lib/orthanc-gcp/lib"
        done = host.run(["/usr/bin/python3", "-W", "error", "-c", script], PYTHONPATH=library)
        assert done.returncode == 0, done.stderr


def test_the_first_published_account(fresh, artefacts):
    """Commands and seconds from an installed Orthanc to an account that is published."""
    folder = downloaded(fresh, artefacts[".deb"])
    fresh.restart()
    began = time.monotonic()
    for command in commands(BLOCKS[INSTALL]):
        do(fresh, command, folder)
    fresh.wait_for_log("my-google: published as DICOMweb server", 120)
    print(f"{len(commands(BLOCKS[INSTALL]))} commands, {time.monotonic() - began:.1f} s")


@pytest.mark.parametrize("name", ["google-cloud-platform.json", "gcp.json"])
def test_a_section_that_is_there_already(tmp_path, artefacts, name):
    """As of the C++ plugin: it stays, nobody is asked, and Orthanc starts."""
    with host_of("bookworm", tmp_path) as host:
        folder = downloaded(host, artefacts[".deb"])
        host.configure(name, BLOCKS[ACCOUNT].text)
        host.give_key()
        host.restart()
        apt, _, restart = commands(BLOCKS[INSTALL])
        do(host, apt, folder)
        host.wait_for_orthanc()
        do(host, "orthanc-gcp install")
        do(host, restart)
        host.wait_for_orthanc()
        host.wait_for_servers("my-google")
        assert host.path(f"/etc/orthanc/{name}").read_text() == BLOCKS[ACCOUNT].text


def custody(host: DebianHost) -> None:
    """Have Orthanc send all that it receives."""
    file = host.path(BLOCKS[ACCOUNT].place)
    section = json.loads(re.sub(r"^\s*//.*$", "", file.read_text(), flags=re.MULTILINE))
    section["GoogleCloudPlatform"]["Send"] = [{"To": "my-google"}]
    file.write_text(json.dumps(section))
    host.restart()


def upload(host: DebianHost) -> None:
    file = host.folder / "image.dcm"
    file.write_bytes(make_instance())
    assert host.curl("/instances", "--data-binary", f"@{file}")


def wait_for_confirmed(host: DebianHost, instances: int, wait: float = 60) -> None:
    deadline = time.monotonic() + wait
    while confirmed(host) < instances:
        assert time.monotonic() < deadline, host.log
        time.sleep(0.2)


def confirmed(host: DebianHost) -> int:
    found = host.curl("/gcp/accounts/my-google/transfers")
    return found["Confirmed"]["Instances"] if found else 0


def unpack(host: DebianHost, archive: Path) -> Path:
    """Do what the page on packages says; where the reader has it."""
    place = downloaded(host, archive)
    do(host, f"rmdir {VENV}")
    block = next(block for block in PACKAGES if "zipfile" in block.text and block.language)
    for command in commands(block):
        do(host, command, place)
    return place


def test_the_folder_unpacked_anywhere(fresh, artefacts):
    """The connector, then a worker that sends, by one folder; it stays when it is uninstalled."""
    place = unpack(fresh, artefacts[".zip"])
    program = "/opt/orthanc-gcp/bin/orthanc-gcp"
    do(fresh, commands(BLOCKS[INSTALL])[1].replace("orthanc-gcp", program, 1), place)
    named = fresh.path("/etc/orthanc/python.json").read_text()
    assert "/opt/orthanc-gcp/orthanc_gcp_plugin.py" in named
    fresh.restart()
    fresh.wait_for_servers("my-google")
    custody(fresh)
    upload(fresh)
    wait_for_confirmed(fresh, 1)
    assert "my-google" in do(fresh, f"{program} status /etc/orthanc")
    do(fresh, f"{program} check /etc/orthanc")
    do(fresh, f"{program} install --uninstall")
    assert fresh.path("/opt/orthanc-gcp/orthanc_gcp_plugin.py").exists()
    before = len(fresh.log)
    fresh.restart()
    assert "orthanc-gcp" not in fresh.log[before:]


def test_a_folder_that_does_not_fit_leaves_orthanc_running(fresh, artefacts):
    unpack(fresh, artefacts[".zip"])
    script = fresh.path("/opt/orthanc-gcp/orthanc_gcp_plugin.py")
    fresh.edit("python.json", "PythonScript", "/opt/orthanc-gcp/orthanc_gcp_plugin.py")
    text = script.read_text()
    for changed, words in (
        (re.sub(r"PYTHONS = .*", "PYTHONS = [(3, 9)]", text), "is installed for Python 3.9"),
        (re.sub(r"PLATFORM = .*", "PLATFORM = 'win32'", text), "is installed for win32"),
        (text.replace("['lib']", "['nowhere']"), "orthanc-gcp cannot start from ['nowhere']"),
    ):
        script.write_text(changed)
        before = len(fresh.log)
        fresh.restart()
        fresh.wait_for_log("Orthanc has started")
        assert words in fresh.log[before:]


def tree_of_before(folder: Path) -> Source:
    """The tree before the last step of the ledger's schema, as an earlier version."""
    migrations = "src/orthanc_gcp/ledger/migrations/*.sql"
    added = ["git", "log", "-1", "--diff-filter=A", "--format=%h", "--", migrations]
    commit = run(*added, cwd=ROOT).strip()
    archive = subprocess.run(
        ["git", "archive", f"{commit}~1"], cwd=ROOT, check=True, capture_output=True
    )
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    # Which is younger, and no part of what is upgraded.
    shutil.copy(ROOT / "docs" / "security.md", folder / "docs")
    init = folder / "src" / "orthanc_gcp" / "__init__.py"
    init.write_text(re.sub(r'__version__ = ".*"', '__version__ = "0.0.1"', init.read_text()))
    return Source(folder)


def schema_version(host: DebianHost) -> int:
    code = (
        'import sqlite3; print(sqlite3.connect("/var/lib/orthanc/db-v6/orthanc-gcp.sqlite")'
        '.execute("SELECT version FROM gcp_schema_version").fetchone()[0])'
    )
    return int(do(host, f"python3 -c '{code}'"))


def test_an_upgrade(tmp_path, artefacts, monkeypatch):
    """Of package, folder, script and ledger: nothing is lost, and nothing is to be done by hand."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(Source().epoch))
    before = make(["deb"], tree_of_before(tmp_path / "tree"), tmp_path, work_beside(tmp_path))[-1]
    place = tmp_path / "host"
    place.mkdir()
    with host_of("bookworm", place) as host:
        old, new = (place / name for name in ("old", "new"))
        for folder, package in ((old, before), (new, artefacts[".deb"])):
            folder.mkdir()
            shutil.copy(package, folder)
            (folder / "dicom-osimis.json").write_text(host.google.credential())
        apt = commands(BLOCKS[INSTALL])[0]
        do(host, apt, old)
        assert "0.0.1" in do(host, "orthanc-gcp --version")
        host.give_key()
        configure(host)
        custody(host)
        upload(host)
        wait_for_confirmed(host, 1)
        version = schema_version(host)
        section = host.path(BLOCKS[ACCOUNT].place).read_text()
        host.google.stop()
        upload(host)

        do(host, apt, new)
        host.google.start()
        wait_for_confirmed(host, 2)
        assert Source().version in do(host, "orthanc-gcp --version")
        assert schema_version(host) > version
        assert host.path(BLOCKS[ACCOUNT].place).read_text() == section
        upload(host)
        wait_for_confirmed(host, 3)
        do(host, "orthanc-gcp check /etc/orthanc")


def test_lintian_finds_no_error(artefacts):
    root = make_release("bookworm")
    if not (root / "usr/bin/lintian").exists():
        install(root, "lintian")
    package = artefacts[".deb"]
    shutil.copy(package, root / "tmp" / package.name)
    done = subprocess.run(
        ["chroot", root, "lintian", "--fail-on", "error", f"/tmp/{package.name}"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_same_tree_makes_the_same_bytes(tmp_path, artefacts):
    again = make(["deb", "zip"], Source(), tmp_path / "dist", work_beside(tmp_path))
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in again]
    assert digests == [
        hashlib.sha256(artefacts[one.suffix].read_bytes()).hexdigest() for one in again
    ]


def test_the_bill_is_of_all_that_is_shipped(artefacts):
    bill = json.loads(artefacts[".json"].read_text())
    with zipfile.ZipFile(artefacts[".zip"]) as archive:
        infos = {name.split("/")[2] for name in archive.namelist() if ".dist-info/" in name}
    listed = {f"{one['name']}-{one['version']}" for one in bill["components"]}
    shipped = {one.removesuffix(".dist-info").replace("_", "-") for one in infos}
    assert shipped - {f"orthanc-gcp-{Source().version}"} == listed
    assert all(one["hashes"] for one in bill["components"])
