"""Wheels that are fetched by the lock; compat/test_packages.py fetches them."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from artefacts.lock import Pin
from artefacts.targets import LINUX
from artefacts.wheels import fetch, name_of, sha256

CONTENT = b"a wheel"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def pin(name: str = "a-b", version: str = "1.0", marker: str = "", digest: str = DIGEST) -> Pin:
    return Pin(name, version, marker, frozenset({digest}))


def wheel(folder: Path, name: str = "a_b-1.0-py3-none-any.whl") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(CONTENT)
    return folder / name


def test_what_is_there_is_not_fetched(tmp_path):
    there = wheel(tmp_path / "cache")
    wheel(tmp_path / "cache", "of_before-1-py3-none-any.whl")
    nowhere = pin("nowhere", marker="sys_platform == 'win32'")
    assert fetch([pin(), nowhere], LINUX, (3, 11), tmp_path / "cache") == [there]
    assert (name_of(there), sha256(there)) == ("a-b", DIGEST)


@pytest.mark.parametrize("wanted", [pin(digest="cd" * 32), pin(version="2.0")])
def test_what_has_another_hash_or_version_is_not_taken(tmp_path, monkeypatch, wanted):
    """It is fetched, here from a place where there is none."""
    wheel(tmp_path / "cache")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(subprocess.CalledProcessError):
        fetch([wanted], LINUX, sys.version_info[:2], tmp_path / "cache")
