"""``make demo``: without a terminal, and at one."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import tempfile
import time

import pytest

from orthanc_gcp.commands import demonstration
from tests.support.terminal import invoke

pytestmark = pytest.mark.usefixtures("process")

DEMO = [sys.executable, "-m", "orthanc_gcp", "demo"]
STEPS = (
    "start the emulator of Google",
    "start Orthanc with the sample configuration",
    "acquire a token and publish the server my-google",
    "upload sample images to Orthanc",
    "send them to the store (STOW-RS)",
    "search the store (QIDO-RS)",
    "delete them in Orthanc",
    "retrieve them from the store (WADO-RS)",
    "compare them byte for byte",
    "delete them in the store",
)


def test_without_a_terminal_it_ends():
    done = subprocess.run(DEMO, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    for line, step in zip(lines, STEPS, strict=False):
        assert line.startswith("ok")
        assert f" s  {step}: " in line
    assert "847,028 bytes are the same" in done.stdout
    assert "/dicom-web/app/client/index.html" in done.stdout


def test_a_step_that_fails_is_named(tmp_path):
    """Here, the second one: Orthanc's plugins are not where Debian puts them."""
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    (tmp_path / "sitecustomize.py").write_text(
        "import orthanc_gcp.commands.demonstration as d, pathlib\n"
        "d.PLUGINS = [pathlib.Path('/nowhere')]\n"
    )
    done = subprocess.run(
        DEMO, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment
    )
    assert done.returncode == 1
    assert (
        "failed start Orthanc with the sample configuration: Orthanc is not complete, install it: "
        "apt-get install orthanc orthanc-dicomweb orthanc-python" in done.stdout
    )
    assert "The logs are in" in done.stdout


def test_in_this_process(monkeypatch, tmp_path):
    """Shown from its beginning to its end, and broken off: what it made is removed, or named."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    done = invoke("demo")
    assert [step in line for step, line in zip(STEPS, done.stdout.splitlines(), strict=False)] == [
        True for _ in STEPS
    ]
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(demonstration, "PLUGINS", (tmp_path / "nowhere.so",))
    done = invoke("demo", code=1)
    assert "failed start Orthanc with the sample configuration: Orthanc is not" in done.stdout
    (left,) = tmp_path.iterdir()
    assert f"The logs are in {left}." in done.stdout


@pytest.mark.timeout(90)
def test_at_a_terminal_it_stays_up():
    controller, terminal = pty.openpty()
    process = subprocess.Popen(DEMO, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    shown = b""
    deadline = time.monotonic() + 60
    while b"until Ctrl-C" not in shown:
        assert time.monotonic() < deadline, shown.decode()
        shown += os.read(controller, 65536)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    os.close(controller)
