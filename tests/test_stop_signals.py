"""What asks a process for its end, whatever it is doing just then."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
import sqlite3, sys, threading, time
from orthanc_gcp.stop_signals import stop_on_signals

stopping = threading.Event()
stop_on_signals(stopping.set, {within})
"""
WAYS = {
    "it waits": "print('on', flush=True); stopping.wait()",
    "it holds the lock that is needed to stop it": """
        with stopping._cond:
            print('on', flush=True)
            sys.stdin.readline()
            time.sleep(0.2)
        stopping.wait()
    """,
    "it can start no thread": """
        threading.stack_size(1 << 46)  # no machine has room for one
        print('on', flush=True)
        stopping.wait()
    """,
    "it waits in C": """
        one, other = (sqlite3.connect('l.sqlite', isolation_level=None) for _ in range(2))
        one.execute('BEGIN EXCLUSIVE')
        other.execute('PRAGMA busy_timeout=20000')
        threading.Timer(0.3, print, ['on'], {'flush': True}).start()
        other.execute('BEGIN EXCLUSIVE')
    """,
}


def asked_to_end(folder, way: str, number: int, within: float = 60, wait: float = 30) -> int:
    """The exit code of a process that gets a signal."""
    text = PROGRAM.format(within=within) + textwrap.dedent(way)
    command = [sys.executable, "-c", text]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder
    ) as process:
        try:
            assert process.stdout.readline() == b"on\n"
            process.send_signal(number)
            process.stdin.write(b"\n")
            process.stdin.flush()
            return process.wait(wait)
        finally:
            process.kill()


@pytest.mark.parametrize("way", list(WAYS)[:2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends(tmp_path, way, number):
    assert asked_to_end(tmp_path, WAYS[way], number) == 0


def test_what_does_not_end_is_ended(tmp_path):
    never = "print('on', flush=True); threading.Event().wait()"
    assert asked_to_end(tmp_path, never, signal.SIGTERM, within=0.1) == 1


def test_it_is_stopped_while_the_main_thread_waits_for_a_database(tmp_path):
    """A handler would run only 20 seconds later."""
    code = asked_to_end(tmp_path, WAYS["it waits in C"], signal.SIGTERM, within=0.5, wait=10)
    assert code == 1
