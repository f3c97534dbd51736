"""Who this process is, and on a system that knows no numbers of users."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from orthanc_gcp import users


def test_whoever_runs_this_has_a_name():
    assert users.own_id() == os.geteuid()
    assert users.is_root() is (os.geteuid() == 0)
    assert users.user_name() == users.name_of(os.geteuid())
    assert users.name_of(0) == "root"
    assert users.has_file_modes()


def test_a_user_without_a_name():
    assert users.name_of(3_000_000_007) == "3000000007"


def test_a_system_without_numbers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(os, "geteuid")
    monkeypatch.setitem(sys.modules, "pwd", None)
    assert users.own_id() is None
    assert not users.is_root()
    assert not users.has_file_modes()
    assert users.user_name() == "that runs this"
    assert users.name_of(7) == "7"


def test_whose_name_is_written_down_is_one_line(monkeypatch: pytest.MonkeyPatch):
    assert users.this_user() == f"{users.user_name()} at {socket.gethostname()}"
    monkeypatch.setattr(socket, "gethostname", lambda: "x" * 200)
    assert len(users.this_user()) == 150
    monkeypatch.setattr(socket, "gethostname", lambda: "a\nb")
    assert users.this_user() == "a user of this machine"
