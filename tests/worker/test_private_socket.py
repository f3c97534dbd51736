"""A socket that only its owner can reach, in a folder that goes with it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from orthanc_gcp.worker import private_socket as module
from orthanc_gcp.worker.private_socket import private_socket, remove_socket


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_FOLDERS", (str(tmp_path),))
    return tmp_path


def test_it_is_private_and_goes_away(folders):
    with private_socket() as (listening, path):
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(path))
            listening.accept()[0].close()
    assert list(folders.iterdir()) == []


def test_what_a_killed_worker_left_is_removed(folders):
    code = (
        "import os; from orthanc_gcp.worker import private_socket as module;"
        f"module._FOLDERS = ({str(folders)!r},);"
        "opened = module.private_socket(); opened.__enter__(); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    (left,) = folders.iterdir()
    with private_socket():
        assert left.exists(), "it could be just about to listen"
    os.utime(left / "worker.sock", (1, 1))
    (folders / "orthanc-gcp-of-others").mkdir()
    with private_socket() as first, private_socket() as second:
        assert not left.exists()
        assert first.place.exists() and second.place.exists()
    assert [one.name for one in folders.iterdir()] == ["orthanc-gcp-of-others"]


def test_a_name_that_is_too_long_for_a_socket(folders, monkeypatch):
    long = folders / ("n" * 120)
    long.mkdir()
    monkeypatch.setattr(module, "_FOLDERS", (str(long), str(folders)))
    with private_socket() as made:
        assert made.place.parent.parent == folders
    assert list(long.iterdir()) == []
    monkeypatch.setattr(module, "_FOLDERS", (str(long),))
    with pytest.raises(OSError, match="no socket can be made"), private_socket():
        pass


def test_links_lead_nowhere(folders, tmp_path_factory):
    """Another user of the machine can put them there."""
    home = tmp_path_factory.mktemp("home")
    file, listening = home / "worker.sock", socket.socket(socket.AF_UNIX)
    with listening:
        listening.bind(str(file))
    os.utime(file, (1, 1))
    (folders / "orthanc-gcp-folder").symlink_to(home)
    (folders / "orthanc-gcp-file").mkdir()
    (folders / "orthanc-gcp-file" / "worker.sock").symlink_to(file)
    (folders / "orthanc-gcp-none").mkdir()
    (folders / "orthanc-gcp-none" / "worker.sock").touch()
    os.utime(folders / "orthanc-gcp-none" / "worker.sock", (1, 1))
    with private_socket():
        pass
    assert file.exists()
    assert len(list(folders.iterdir())) == 3


def test_nothing_else_is_removed(folders):
    file = folders / "important" / "worker.sock"
    file.parent.mkdir()
    file.touch()
    remove_socket(file)
    remove_socket(folders / "orthanc-gcp-x" / "other")
    assert file.exists()


def test_where_there_are_no_such_sockets(folders, monkeypatch):
    """A port of loopback, as on Windows; there is nothing to remove after it."""
    monkeypatch.delattr(socket, "AF_UNIX")
    with private_socket() as (listening, port), private_socket() as other:
        assert listening.getsockname() == ("127.0.0.1", port)
        assert other.place != port
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            listening.accept()[0].close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    remove_socket(port)
    assert list(folders.iterdir()) == []
