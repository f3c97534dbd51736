"""What is done to the disk, step by step."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

import pytest

from orthanc_gcp.errors import InstallationError
from orthanc_gcp.installation.host import Host
from orthanc_gcp.installation.install import plan_installation
from orthanc_gcp.installation.steps import (
    EditFile,
    MakeFolder,
    MoveAside,
    RemoveFile,
    RemoveFolder,
    WriteFile,
    clearing,
    perform,
    refuse_what_cannot_be_written,
)
from orthanc_gcp.orthanc.installation import Service
from tests.support.debian_orthanc import USER, contents
from tests.support.public_installation import public_folder


def test_a_full_disk(site, monkeypatch):
    """It says so, and Orthanc starts; when there is room again, it goes on."""
    before = contents(site.folder)

    def full(_file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(InstallationError, match=r"No space left on device.*run this again"):
            site.install()
    assert contents(site.folder) == before
    site.install()
    site.see_that_orthanc_could_start()


def test_a_file_that_is_changed_between_plan_and_edit(site):
    host = Host.find(site.config, Service(USER, "--user"))
    steps = plan_installation(host, None, site.credentials).steps
    edited = [step.path for step in steps if isinstance(step, EditFile)]
    for path in edited:
        path.write_text(path.read_text() + "\n")
    changed = {path: path.read_bytes() for path in edited}
    with pytest.raises(InstallationError, match="was changed just now"):
        list(perform(steps))
    assert {path: path.read_bytes() for path in edited} == changed
    site.install()
    site.uninstall()
    assert {path: path.read_bytes() for path in edited} == changed


def test_a_trap_at_the_name_of_the_new_file(site, tmp_path):
    """Where others may write into the folder, a link cannot lead what is written elsewhere."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    folder = site.config if site.config.is_dir() else site.folder
    for name in (
        "orthanc.json",
        "python.json",
        "orthanc_gcp_plugin.py",
        "orthanc.json.before-orthanc-gcp",
    ):
        with suppress(FileExistsError):
            (folder / f".{name}.orthanc-gcp-new").symlink_to(victim)
    site.install()
    assert victim.read_text() == "mine"
    assert not (folder / "orthanc.json").is_symlink()


# -- Each kind ------------------------------------------------------------------------------------


def test_a_folder_has_its_mode_at_once(tmp_path):
    step = MakeFolder(tmp_path / "x" / "keys", 0o750, None)
    assert list(perform([step])) == [step]
    assert (tmp_path / "x" / "keys").stat().st_mode & 0o777 == 0o750
    assert str(step) == f"make the folder {tmp_path}/x/keys"


def test_a_file_replaces_another_whole(tmp_path):
    file = tmp_path / "a.json"
    file.write_text("a longer text than the new one")
    list(perform([WriteFile(file, b"new", 0o640, (os.geteuid(), os.getegid()))]))
    assert file.read_bytes() == b"new"
    assert file.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in tmp_path.iterdir()] == ["a.json"]


def test_an_edit_keeps_the_mode_and_a_copy(tmp_path):
    file, copy = tmp_path / "a.json", tmp_path / "a.json.before"
    file.write_text("old")
    file.chmod(0o604)
    step = EditFile(file, b"old", b"new", copy, ("A = 1", "B = 2"))
    list(perform([step]))
    assert (file.read_text(), copy.read_text()) == ("new", "old")
    assert file.stat().st_mode & 0o777 == copy.stat().st_mode & 0o777 == 0o604
    assert str(step) == f"edit {file}: A = 1; B = 2 (what it was is kept in {copy})"
    with pytest.raises(InstallationError, match="was changed just now: run this again"):
        list(perform([step]))


def test_what_is_removed_and_moved(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "own").write_text("mine")
    steps = [
        RemoveFolder(tmp_path / "folder"),
        RemoveFile(tmp_path / "file"),
        RemoveFile(tmp_path / "none"),
        MoveAside(tmp_path / "own", tmp_path / "aside"),
    ]
    list(perform(steps))
    assert {one.name: one.read_text() for one in tmp_path.iterdir()} == {"aside": "mine"}
    assert [str(step).split()[0] for step in steps] == ["remove", "remove", "remove", "move"]


def test_what_cannot_be_done_says_so_and_what_was_done_before_stays_done(tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    (full / "file").touch()
    done = []
    with pytest.raises(InstallationError, match=f"could not remove the folder {full}: Directory"):
        for step in perform([WriteFile(tmp_path / "a", b"", 0o600, None), RemoveFolder(full)]):
            done.append(step.path.name)
    assert done == ["a"]


def test_what_was_left_unfinished_is_cleared(tmp_path):
    (tmp_path / ".keys.orthanc-gcp-new").mkdir()
    (tmp_path / ".a.json.orthanc-gcp-new").touch()
    (tmp_path / ".link.orthanc-gcp-new").symlink_to("/etc")
    (tmp_path / "a.json").touch()
    list(perform(clearing([tmp_path])))
    assert [one.name for one in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_what_another_user_cannot_write_is_refused_before_anything_is():
    with public_folder() as folder:
        folder.chmod(0o777)
        closed, file = folder / "closed", folder / "file"
        closed.mkdir(0o755)
        file.write_text("x")
        steps = [WriteFile(closed / "deep" / "a", b"", 0o600, None), EditFile(file, b"x", b"y")]
        refuse_what_cannot_be_written(steps)
        os.setresuid(65534, 65534, 0)  # os.access() asks for the real user
        try:
            for step, path in zip(steps, (closed, file), strict=True):
                message = f"{path} cannot be written: run this as root"
                with pytest.raises(InstallationError, match=message):
                    refuse_what_cannot_be_written([step])
            refuse_what_cannot_be_written([WriteFile(folder / "b", b"", 0o600, None)])
        finally:
            os.setresuid(0, 0, 0)
