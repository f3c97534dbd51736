"""The end of a process whose threads still run."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ABORTS = """
# What C libraries do at the end of a process, to threads that use them: here, for certain.
import ctypes
libc = ctypes.CDLL(None)
libc.__cxa_atexit(ctypes.cast(libc.abort, ctypes.c_void_p), None, None)
"""
PROGRAM = """
import atexit, logging, sys, tempfile, threading
from orthanc_gcp.process_end import without_finalizing

with without_finalizing():
    {}
"""
COMMAND = """
from orthanc_gcp.cli import app

app(["--version"])
"""


def ended(program: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", ABORTS + program]
    return subprocess.run(
        command, **{"capture_output": True, "text": True, "timeout": 30, **options}, check=False
    )


def program_of(lines: str) -> str:
    return PROGRAM.format(textwrap.indent(textwrap.dedent(lines), "    ").strip())


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("pass", 0),
        ("sys.exit()", 0),
        ("sys.exit(3)", 3),
        ("sys.exit('what is wrong')", 1),
        ("raise ValueError('what is wrong')", 1),
    ],
)
def test_the_exit_code_is_that_of_the_program(program, code):
    done = ended(program_of(program))
    assert done.returncode == code, done.stderr
    assert ("what is wrong" in done.stderr) is ("wrong" in program)


def test_everything_else_happens_as_ever(tmp_path):
    program = program_of(
        f"""
        print("printed")
        logging.getLogger().addHandler(logging.FileHandler({str(tmp_path / "log")!r}, delay=True))
        folder = tempfile.TemporaryDirectory(dir={str(tmp_path)!r})
        threading.Timer(0.2, lambda: logging.warning("waited for")).start()
        atexit.register(lambda: logging.warning("an exit handler ran"))
        """
    )
    done = ended(program)
    assert (done.returncode, done.stdout) == (0, "printed\n"), done.stderr
    assert (tmp_path / "log").read_text() == "waited for\nan exit handler ran\n"
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_what_cannot_be_written_is_no_success():
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    with Path("/dev/full").open("w") as full:
        done = ended(
            program_of("print('printed')"), capture_output=False, stdout=full, env=buffered
        )
    assert done.returncode == 120


def test_a_command_ends_so():
    done = ended(COMMAND)
    assert done.returncode == 0, done.stderr
    assert done.stdout
