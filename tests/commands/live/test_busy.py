"""What takes longer than a second says so, and what came is left as it is."""

from __future__ import annotations

import threading

import pytest

from orthanc_gcp.commands.live import busy as module
from orthanc_gcp.commands.live import progress
from orthanc_gcp.commands.live.busy import busy, while_waiting


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "TICK", 0.01)
    monkeypatch.setattr(progress, "EVERY", 0.0)


def test_for_how_long_already(capsys):
    said = threading.Event()
    seen = []

    def slow():
        yield 1
        while not said.wait(0.05):
            seen.append(capsys.readouterr().err)
            if "checking\ufffd: 0 s\n" in "".join(seen):
                said.set()
        yield 2

    assert list(while_waiting(slow(), "checking\x1b")) == [1, 2]


def test_what_fails_ends_it():
    before = threading.active_count()
    with pytest.raises(ValueError, match="x"), busy("words"):
        raise ValueError("x")
    assert threading.active_count() == before
