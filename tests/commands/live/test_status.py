"""What ``status`` prints is what is so."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading

import pytest

from orthanc_gcp.custody.reporting.operations import resume
from orthanc_gcp.ledger.ledger import Ledger
from tests.support.orthanc import wait_until
from tests.support.studies import (
    NOTHING,
    SECOND,
    Study,
    run,
    run_json,
)


def test_status_counts_what_the_ledger_has(site):
    Study(site).confirmed()
    told = run_json(site, "status")
    assert told["Worker"] is True
    (worker,) = told["Workers"]
    google, second = told["Accounts"]
    rows = [row for row in site.rows() if row.account == "google" and row.state == "confirmed"]
    assert google["Account"] == "google"
    assert google["Confirmed"] == {"Instances": len(rows), "Bytes": sum(r.size_bytes for r in rows)}
    assert google["Waiting"] == google["Sending"] == NOTHING
    assert google["Problem"] is None
    assert second["Account"] == SECOND
    text = run(site, "status")
    assert f"{len(rows):,}" in text
    assert "google" in text
    assert "no worker" not in text
    assert f"workers: {worker['Worker']} (" in text


def test_status_measures_the_rate(site):
    engine = site.engine()
    ledger = Ledger(engine)

    def measured() -> bool:
        run(site, "pause", "google")
        study = Study(site)
        # Between the two looks of the command.
        resumption = threading.Timer(0.5, resume, (ledger, "google"))
        resumption.start()
        google = run_json(site, "status")["Accounts"][0]
        resumption.join()
        study.confirmed()
        return google["InstancesPerSecond"] > 0 and google["BytesPerSecond"] > 0

    wait_until(measured, 60)
    engine.dispose()


def test_status_tells_the_problem(site):
    site.emulator.switch(faults=[{"path": "/dicomWeb/studies$", "method": "POST", "status": 503}])
    try:
        study = Study(site)
        study.wait_for(*["delayed"] * 4)
        told = run_json(site, "status")["Accounts"][0]
        assert told["Waiting"]["Instances"] + told["Sending"]["Instances"] == 4
        assert told["OldestUnsentSeconds"] >= 0
        wait_until(lambda: "503" in (run_json(site, "status")["Accounts"][0]["Problem"] or ""), 10)
        assert "503" in run(site, "status")
    finally:
        site.emulator.switch(faults=[])
    study.confirmed()
    assert run_json(site, "status")["Accounts"][0]["Problem"] is None


def test_watch_draws_until_ctrl_c(site):
    Study(site).confirmed()
    primary, secondary = pty.openpty()
    command = [sys.executable, "-m", "orthanc_gcp", "status", site.orthanc.configuration_file]
    process = subprocess.Popen(
        [*command, "--watch"],
        stdin=secondary,
        stdout=secondary,
        stderr=secondary,
        start_new_session=True,
        preexec_fn=lambda: _take_terminal(secondary),
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(secondary)
    seen = b""

    def drawn() -> bool:
        nonlocal seen
        if select.select([primary], [], [], 0.1)[0]:
            seen += os.read(primary, 65536)
        # Drawn twice: the cursor went up to draw over the first.
        return b"google" in seen and "━".encode() in seen and b"\x1b[1A" in seen

    wait_until(drawn, 30, lambda: seen.decode(errors="replace"))
    os.write(primary, b"\x03")
    assert process.wait(20) == 0
    os.close(primary)


def _take_terminal(terminal: int) -> None:
    import fcntl
    import termios

    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_watch_prints_changes_where_there_is_no_terminal(site, form):
    command = [sys.executable, "-m", "orthanc_gcp", "status", site.orthanc.configuration_file]
    process = subprocess.Popen([*command, "--watch", *form], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    seen = ""
    while "google" not in seen:
        line = process.stdout.readline()
        assert line, "it ended"
        seen += line
    process.send_signal(signal.SIGINT)
    rest = process.stdout.read()
    assert process.wait(20) == 0
    process.stdout.close()
    assert "\x1b" not in seen + rest
    if form:
        assert json.loads(seen)["Accounts"][0]["Account"] == "google"
