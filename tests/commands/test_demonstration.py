"""The steps of the demonstration, each with what it says when it fails."""

from __future__ import annotations

import io
import socket
import subprocess
import sys

import pytest
from rich.console import Console

from orthanc_gcp.commands import demonstration
from orthanc_gcp.commands.demonstration import Demonstration, DemonstrationError, running
from tests.support.orthanc import free_port


@pytest.fixture
def console(monkeypatch):
    """Where it is shown; on ports of this process's own, for test_demo has the usual ones."""
    monkeypatch.setattr(demonstration, "_port", lambda _usual: free_port())
    return Console(file=io.StringIO(), width=200)


def test_every_step_and_the_addresses(tmp_path, console):
    with running(tmp_path, console) as shown:
        shown.tour()
        shown.print_addresses()
        with pytest.raises(DemonstrationError, match="Orthanc answered 404 to GET /nowhere"):
            shown.call("GET", "/nowhere")
        shown.files = {"none": b""}
        with pytest.raises(DemonstrationError, match="send: 0 instances were sent, expected 1"):
            shown.step("send", lambda: count(0, 1))
        processes = shown.processes
    said = console.file.getvalue()
    assert said.count("ok ") == 10
    for address in (shown.orthanc, shown.google):
        assert address in said
    assert [process.poll() is None for process in processes] == [False, False]


def count(found, expected):
    demonstration._expect(found, expected, "instances were sent")
    return ""


def test_what_came_back_is_compared(tmp_path, console, monkeypatch):
    shown = Demonstration(tmp_path, console, [])
    shown.files = {"one": b"sent"}
    monkeypatch.setattr(shown, "raw", lambda *_: b"other")
    with pytest.raises(DemonstrationError, match="instance one came back with other bytes"):
        shown.compare()


def test_an_orthanc_that_ends_is_not_waited_for(tmp_path, console):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    shown = Demonstration(tmp_path, console, [process])
    with pytest.raises(DemonstrationError, match="it does not answer"):
        shown.until(lambda: False, "it does not answer")


def test_an_emulator_that_does_not_start(tmp_path, console):
    (tmp_path / "google").write_text("no folder")
    with (
        pytest.raises(DemonstrationError, match=r"start the emulator.*: the emulator does not"),
        running(tmp_path, console),
    ):
        pass


def test_a_port_that_is_taken_is_not_used():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        taken = other.getsockname()[1]
        assert demonstration._port(taken) != taken
    assert demonstration._port(taken) == taken
