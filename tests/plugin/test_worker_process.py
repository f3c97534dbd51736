"""A child process that is kept running: real ones, that do what a worker may do."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import psutil
import pytest

from orthanc_gcp.backoff import Backoff
from orthanc_gcp.plugin import worker_process
from orthanc_gcp.plugin.worker_process import WorkerProcess, command
from orthanc_gcp.worker.handshake import WorkerInput
from tests.support.orthanc import wait_until
from tests.support.threads import no_thread_left

GIVEN = WorkerInput({}, Path("/etc/orthanc"), "http://h/", "", "Bearer x", "w", 0.0, "s3cret")
READY = """
import json, os, sys, time
given = json.loads(sys.stdin.readline())
assert given["Secret"] == "s3cret"
print(json.dumps({"Socket": f"/{os.getpid()}"}), flush=True)
"""
"""It takes what it is given, and says that its socket is called like its process."""


@pytest.fixture
def started(monkeypatch, caplog):
    """Starts processes of a program, one after another; they are started again at once."""
    monkeypatch.setattr(worker_process, "BACKOFF", Backoff(0.05, 0.05, jitter=0))
    caplog.set_level(logging.INFO)
    running = []

    def start(program, *, executable=sys.executable):
        running.append(WorkerProcess([executable, "-c", program], GIVEN))
        running[-1].start()
        return running[-1]

    yield start
    for process in running:
        process.stop()
        assert process.socket is None


def pid_of(process):
    """Which process runs, by its socket."""
    return process.socket and int(process.socket.name)


def is_gone(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_it_ends_when_it_is_stopped(started):
    process = started(READY + "sys.stdin.read()")
    wait_until(lambda: process.socket)
    pid = pid_of(process)
    assert not is_gone(pid)
    process.stop()
    assert is_gone(pid)
    assert process.socket is None


def test_it_is_started_again(started, caplog):
    process = started(READY + "time.sleep(0.2); os._exit(7)")
    wait_until(lambda: process.socket)
    first = pid_of(process)
    wait_until(lambda: pid_of(process) not in (first, None))
    assert "the worker has ended (exit code 7), it is started again in 0.05 s" in caplog.text
    assert is_gone(first)


def test_one_that_is_killed(started, caplog):
    process = started(READY + "sys.stdin.read()")
    wait_until(lambda: process.socket)
    psutil.Process(pid_of(process)).kill()
    wait_until(lambda: "the worker has ended (signal 9)" in caplog.text)


@pytest.mark.parametrize("code", worker_process.FINAL)
def test_what_a_new_start_does_not_mend(started, caplog, code):
    started(f"import os; os._exit({code})")
    wait_until(lambda: "the worker cannot run as it is" in caplog.text)
    assert "started again" not in caplog.text


def test_a_python_that_is_gone(started, caplog):
    process = started("", executable="/no/python")
    wait_until(lambda: caplog.text.count("cannot be started by /no/python") > 1)
    assert "(it did not start)" in caplog.text
    assert process.socket is None


def test_no_thread_is_left_to_attend_to_it(started, caplog):
    others = psutil.Process().children()
    process = started(READY + "time.sleep(0.5); os._exit(7)")
    wait_until(lambda: process.socket)
    with no_thread_left():
        wait_until(lambda: caplog.text.count("can't start new thread") > 1)
        wait_until(lambda: psutil.Process().children() == others)  # none runs beside the next
    wait_until(lambda: process.socket)


def test_one_that_hangs_is_killed(started, monkeypatch):
    monkeypatch.setattr(worker_process, "STOP_WITHIN", 0.2)
    program = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + READY
    process = started(program + "time.sleep(60)")
    wait_until(lambda: process.socket)
    pid = pid_of(process)
    process.stop()
    assert is_gone(pid)


def test_its_log_is_passed_on_by_level(started, caplog):
    lines = r"ERROR bad\n  more of it\nINFO fine\n\xff odd"
    process = started(READY + f"sys.stderr.buffer.write(b'{lines}\\n'); sys.stdin.read()")
    wait_until(lambda: process.socket)
    wait_until(lambda: "odd" in caplog.text)
    found = [(one.levelname, one.getMessage()) for one in caplog.records]
    assert [one for one in found if one[1].startswith("worker: ")] == [
        ("ERROR", "worker: bad"),
        ("ERROR", "worker:   more of it"),
        ("INFO", "worker: fine"),
        ("INFO", "worker: \ufffd odd"),
    ]
    assert "s3cret" not in caplog.text


def test_a_first_line_that_is_no_address(started):
    process = started("import sys; print('hello', flush=True); sys.stdin.readline(); input()")
    wait_until(lambda: process._process is not None)
    assert process.socket is None


def test_what_is_stopped_before_it_is_started():
    process = WorkerProcess([sys.executable, "-c", ""], GIVEN)
    process.stop()
    process.start()
    process.stop()
    assert process.socket is None


def test_the_command_names_no_secret():
    assert command("/venv/bin/python") == [
        "/venv/bin/python",
        "-P",
        "-m",
        "orthanc_gcp",
        "worker",
        "-",
    ]


def test_one_that_stands_still_before_it_has_started(started, monkeypatch, caplog):
    monkeypatch.setattr(worker_process, "START_WITHIN", 0.5)
    program = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"
    started(program)
    wait_until(lambda: "has not started within 0.5 s" in caplog.text)
    wait_until(lambda: "the worker has ended (signal 9)" in caplog.text)
