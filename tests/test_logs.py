"""What a log may hold: no secret, and no more lines than a person can read."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from orthanc_gcp.logs import LineLimit, MaskingFormatter


class Time:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def written(clock: Time) -> Iterator[io.StringIO]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(MaskingFormatter("%(message)s"))
    handler.addFilter(LineLimit(5, 60.0, clock))
    for name in ("orthanc_gcp.one", "orthanc_gcp.two"):
        logging.getLogger(name).addHandler(handler)
    yield stream
    for name in ("orthanc_gcp.one", "orthanc_gcp.two"):
        logging.getLogger(name).removeHandler(handler)


def test_a_flood_is_cut_and_counted(written: io.StringIO, clock: Time) -> None:
    one, two = logging.getLogger("orthanc_gcp.one"), logging.getLogger("orthanc_gcp.two")
    for number in range(100):
        one.error("line %d", number)
    two.error("of another")
    clock.now = 61.0
    one.error("later")
    one.error("once more")
    assert written.getvalue().splitlines() == [
        *(f"line {number}" for number in range(4)),
        "line 4 (what follows is left out for a while)",
        "of another",
        "later (before it, 95 lines were left out)",
        "once more",
    ]


def test_secrets_are_masked_wherever_they_stand(written: io.StringIO) -> None:
    log = logging.getLogger("orthanc_gcp.one")
    log.error("at %s", "https://me:hush@host/")
    try:
        raise ValueError("Authorization: Bearer ya29.hush-hush")
    except ValueError:
        log.exception("broken")
    assert "hush" not in written.getvalue()
    assert 'File "' in written.getvalue()
    assert written.getvalue().endswith("ValueError\n")


def test_pydicom_warns_in_no_log() -> None:
    code = """
import logging, warnings
from orthanc_gcp.logs import log_to_stderr
log_to_stderr("%(message)s")
from pydicom.dataset import Dataset
from pydicom.misc import warn_and_log
warn_and_log("invalid value Doe^John")
data = Dataset()
data.PatientBirthDate = "Doe^John"
logging.getLogger("orthanc_gcp").warning("ours")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "ours\n"


def run(code: str) -> str:
    """What a process with our log writes, whatever becomes of it."""
    lines = "import logging, threading\nfrom orthanc_gcp.logs import log_to_stderr\n"
    start = "log_to_stderr('%(name)s %(message)s')\n"
    command = [sys.executable, "-c", lines + start + code]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


def test_libraries_quote_nothing() -> None:
    code = """
for name in ("urllib3.connection", "google.auth", "pydicom", "PIL.x"):
    logging.getLogger(name).warning("Failed to parse headers: Doe^John")
logging.getLogger("orthanc_gcp.x").warning("ours")
"""
    assert run(code) == "orthanc_gcp.x ours\n"


def test_a_thread_and_a_process_that_fail_say_where_and_not_with_which_values() -> None:
    code = """
def fail():
    try:
        raise KeyError("Doe^John")
    except KeyError as error:
        raise ValueError("hush") from error
thread = threading.Thread(target=fail, name="gcp-x")
thread.start()
thread.join()
fail()
"""
    written = run(code)
    assert "gcp-x has ended unexpectedly" in written
    assert "this process has ended unexpectedly" in written
    assert written.count("ValueError because of KeyError") == 2
    assert "Doe" not in written
    assert "hush" not in written


def test_what_ends_a_process_as_it_should_is_no_defect() -> None:
    assert run("raise SystemExit(3)") == ""
    assert run("threading.Thread(target=lambda: exit(1)).start()") == ""
    assert "KeyboardInterrupt" in run("raise KeyboardInterrupt")


def test_warnings_of_libraries_are_not_written_where_nobody_has_asked_for_a_log() -> None:
    code = """
import logging
from orthanc_gcp.logs import silence_libraries
silence_libraries()
logging.getLogger("urllib3.connection").warning("Failed to parse headers: Doe^John")
logging.getLogger("others").warning("theirs")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "theirs\n"
