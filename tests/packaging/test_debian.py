"""What Debian's package is made of; tests/debian/test_readme.py installs one."""

from __future__ import annotations

import gzip
import re
import subprocess

import pytest

from artefacts import debian
from artefacts.debian import copyright_of, make_package, unit
from artefacts.folder import Folder, finish
from artefacts.manual import pages
from artefacts.source import ROOT, Source
from artefacts.targets import LINUX, PYTHONS
from orthanc_gcp import configuration
from orthanc_gcp.configuration.files import read_files
from orthanc_gcp.installation.section import MARK
from tests.support.debian_package import copy_metadata


@pytest.fixture
def folder(tmp_path) -> Folder:
    """One with a library that has nothing but its metadata."""
    copy_metadata(["urllib3"], tmp_path / "folder" / "lib")
    finish(Source(), LINUX, tmp_path / "folder", PYTHONS)
    return Folder(tmp_path / "folder", {})


@pytest.fixture
def package(folder, tmp_path):
    return make_package(Source(), folder, tmp_path / "deb", tmp_path, "none")


def ask(package, *command: str) -> str:
    done = subprocess.run([*command, package], check=True, capture_output=True, text=True)
    return done.stdout


def test_its_name_and_what_it_depends_on(package):
    assert package.name == f"orthanc-gcp_{Source().version}_amd64.deb"
    fields = ask(package, "dpkg-deb", "--field")
    assert f"Version: {Source().version}\n" in fields
    (depends,) = re.findall(r"^Depends: (.+)$", fields, re.MULTILINE)
    assert {"orthanc", "orthanc-dicomweb", "orthanc-python"} <= set(re.findall(r"[\w-]+", depends))
    (oldest, newest) = PYTHONS[0], PYTHONS[-1]
    assert "python3 (>= {}.{})".format(*oldest) in depends
    assert f"python3 (<< {newest[0]}.{newest[1] + 1})" in depends


def test_the_same_tree_is_the_same_bytes(package, folder, tmp_path):
    before = package.read_bytes()
    again = make_package(Source(), folder, tmp_path / "again", tmp_path, "none")
    assert again.read_bytes() == before


def test_the_configuration_is_a_conffile_and_belongs_to_root(package):
    listed = ask(package, "dpkg-deb", "--contents")
    assert set(re.findall(r" (\S+/\S+) \s*\d+ ", listed)) == {"root/root"}
    assert "./etc/orthanc/google-cloud-platform.json\n" in listed
    done = ["dpkg-deb", "--ctrl-tarfile", str(package)]
    control = subprocess.run(done, check=True, capture_output=True).stdout
    assert b"/etc/orthanc/google-cloud-platform.json\n" in control


def test_the_section_says_nothing_until_an_account_is_filled_in(tmp_path):
    """Not even its name: an option that stands in two files stops Orthanc."""
    text = (ROOT / "packaging" / "debian" / "google-cloud-platform.json").read_text()
    file = tmp_path / "section.json"
    file.write_text(text)
    assert text.startswith(MARK)
    assert read_files([file], {}) == {}
    file.write_text(re.sub(r"^  // (?!An |Orth|`|a f)", "  ", text, flags=re.MULTILINE))
    settings = configuration.read(read_files([file], {}))
    assert [str(problem) for problem in settings.problems] == []
    assert [account.name for account in settings.accounts] == ["my-google"]


def test_the_unit_is_that_of_the_guide():
    assert unit(ROOT) in (ROOT / "docs" / "security.md").read_text()
    assert "ExecStart=/usr/bin/orthanc-gcp worker " in unit(ROOT)


def test_the_licences_are_there_word_for_word(folder):
    text = copyright_of(ROOT, folder)
    assert (ROOT / "LICENSE").read_text() in text
    (licence,) = (folder.path / "lib").glob("urllib3-*.dist-info/licenses/*")
    assert licence.read_text() in text


def test_the_changelog_is_that_of_the_version(package, tmp_path):
    subprocess.run(["dpkg-deb", "--extract", package, tmp_path / "to"], check=True)
    file = tmp_path / "to/usr/share/doc/orthanc-gcp/changelog.gz"
    text = gzip.decompress(file.read_bytes()).decode()
    assert f"orthanc-gcp ({Source().version}) " in text
    newest = (ROOT / "CHANGELOG.md").read_text().split("\n## ")[1]
    assert text.count("\n  * ") == newest.count("\n- ") > 1
    assert "**\n" not in text
    assert "###" not in text


def test_the_manual_is_in_it_and_has_no_time(package, tmp_path):
    subprocess.run(["dpkg-deb", "--extract", package, tmp_path / "to"], check=True)
    files = sorted((tmp_path / "to/usr/share/man/man1").iterdir())
    there = {file.name.removesuffix(".gz"): gzip.decompress(file.read_bytes()) for file in files}
    wanted = {name: text.encode() for name, text in pages(Source().version).items()}
    assert there == wanted
    no_time = b"\0\0\0\0"  # RFC 1952, section 2.3.1: MTIME, as of gzip -n
    assert {file.read_bytes()[4:8] for file in files} == {no_time}


@pytest.mark.parametrize("name", ["preinst", "postinst", "prerm", "postrm"])
def test_its_scripts_are_read_by_the_shell(name):
    script = ROOT / "packaging" / "debian" / name
    assert script.read_text().startswith("#!/bin/sh\nset -e\n")
    subprocess.run(["dash", "-n", script], check=True)


def test_who_builds_it_is_named(monkeypatch):
    monkeypatch.setenv("DEBFULLNAME", "A B")
    monkeypatch.setenv("DEBEMAIL", "a@b.org")
    assert debian.maintainer() == "A B <a@b.org>"
