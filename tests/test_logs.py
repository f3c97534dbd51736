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
    assert "Traceback" in written.getvalue()


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
