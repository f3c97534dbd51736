"""All of it in one screen: whatever is in the ledger, and whatever the terminal is."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios

import pytest
from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError

from orthanc_gcp import configuration
from orthanc_gcp.commands.live import top as module
from orthanc_gcp.commands.live.tokens import Tokens
from orthanc_gcp.configuration.files import folder_of, read_files
from orthanc_gcp.ledger.retrievals.rows import Resource
from orthanc_gcp.ledger.schema import State, metadata
from tests.support.command_ledger import config, own_ledger
from tests.support.orthanc import wait_until
from tests.support.terminal import invoke
from tests.support.transfers import arrive, settle

__all__ = ["config", "own_ledger"]

ACCOUNT = "my-google"
HOSTILE = "\x1b[2J\x9b31m[bold]\u202e\r\n"


@pytest.fixture
def filled(own_ledger):
    own_ledger.indexes.begin("o", 0, own_ledger.now())
    arrive(own_ledger, 3, account=ACCOUNT)
    settle(own_ledger, State.QUARANTINED, 1, account=ACCOUNT, reason="conflict", detail=HOSTILE)
    own_ledger.retrievals.request(ACCOUNT, "o", [Resource("1.2")], compare_bytes=False)
    return own_ledger


def test_without_a_terminal_it_is_printed_once(filled, config):
    lines = invoke("top", config).stdout.splitlines()
    assert lines[0].startswith("orthanc-gcp  20")
    assert any(line.startswith(f"{ACCOUNT}: what is in quarantine") for line in lines)
    assert any(line.startswith("tokens: not known: ") for line in lines)
    assert any(line.startswith("Orthanc o (o): seen ") for line in lines)
    assert any("waiting, 0 of 0 instances, 1.2" in line for line in lines)


def document(text: str) -> dict:
    """All that can be shown, with a text wherever there is one."""
    none = {"Instances": 1, "Bytes": 1}
    problem = {"Account": text, "Message": text, "Remedy": text}
    figures = ("Waiting", "Sending", "Acknowledged", "Confirmed", "Quarantined")
    ended = ("Lost", "Withdrawn", "Superseded", "Dismissed")
    account = {
        **dict.fromkeys((*figures, *ended), none),
        "Account": text,
        "Paused": True,
        "LostChanges": 1,
        "FormerStores": [],
        "UnprotectedPatients": 1,
        "OldestUnsentSeconds": 5.0,
        "OldestUnsentDetail": text,
        "EstimatedEnd": None,
        "InstancesPerSecond": 1.0,
        "BytesPerSecond": 1.0,
        "Problem": text,
        "Problems": [problem, {**problem, "Account": None}],
    }
    token = {"Account": text, "State": text, "Identity": text, "SecondsToExpiry": 9.0}
    sender = {"Worker": text, "Account": text, "Requests": 1, **none}
    backfill = {"Index": text, "State": text, "Paused": False, "Open": False}
    backfill |= {"Studies": {"Done": 1, "Total": 2}, "InstancesPerSecond": 1.0}
    return {
        "Worker": False,
        "Workers": [{"Worker": text, "Instances": 0}, {"Worker": text, "Instances": 2}],
        "Accounts": [account],
        "Tokens": [{**token, "Problem": text, "NextTry": text}],
        "TokensProblem": None,
        "Senders": [sender, {**sender, "Worker": None}],
        "Orthancs": [{"Index": text, "Orthanc": text, "Seen": None, "Followed": False}],
        "Backfills": [{**backfill, "EstimatedEnd": "2026-01-01T00:00:00+00:00"}],
        "Retrievals": [
            {
                "Id": 1,
                "Account": text,
                "Study": text,
                "Series": text,
                "Instance": None,
                "State": text,
                "Instances": 2,
                "Received": 1,
                "Present": 0,
            }
        ],
        "Audits": [{"Machine": text, "Noted": text, "Studies": {"Done": 1, "Total": 2}}],
        "BrokenOffAudit": {"Began": text, "After": text, "Studies": 1},
    }


@pytest.mark.parametrize("width", [1, 7, 40, 99, 100, 1000])
def test_nothing_that_a_terminal_obeys_at_any_width(width):
    out = io.StringIO()
    screen = module._screen(document(HOSTILE), HOSTILE, bars=width >= module._WIDE)
    Console(file=out, width=width, highlight=False).print(screen)
    printed = out.getvalue()
    assert not {*"\x1b\x9b\u202e\r"} & {*printed}
    if width == 1000:
        assert "[bold]" in printed, "it is text, and no markup"


def test_a_ledger_that_goes_away_leaves_what_was_there(filled, config):
    settings = configuration.read(read_files([config]), folder_of([config]))
    reading = module._Reading(filled, settings, Tokens(lambda: None))
    shown, problem = reading.read_or_last()
    assert problem == ""
    metadata.drop_all(filled.engine)
    again, problem = reading.read_or_last()
    assert again is shown
    assert problem.startswith("the ledger cannot be reached: ")
    with pytest.raises(SQLAlchemyError):
        module._Reading(filled, settings, Tokens(lambda: None)).read_or_last()


HOME = b"\x1b[H"
"""Where a terminal begins to draw a screen."""


def command(config, *options):
    return [sys.executable, "-m", "orthanc_gcp", "top", str(config), *options]


def resize(terminal: int, rows: int, columns: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


@pytest.mark.parametrize("end", [b"q", signal.SIGTERM])
def test_at_a_terminal_until_it_is_ended(filled, config, end):
    primary, secondary = pty.openpty()
    resize(secondary, 24, 120)
    process = subprocess.Popen(
        command(config, "--interval", "0.5"),
        stdin=secondary,
        stdout=secondary,
        stderr=secondary,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(secondary, termios.TIOCSCTTY, 0),
        env={**os.environ, "TERM": "xterm"},
    )
    seen = b""

    def drawn(times: int) -> bool:
        nonlocal seen
        while select.select([primary], [], [], 0.05)[0]:
            seen += os.read(primary, 65536)
        return seen.count(HOME) >= times

    wait_until(lambda: drawn(1), 30, lambda: seen.decode(errors="replace"))
    before = seen.count(HOME)
    resize(secondary, 3, 15)
    wait_until(lambda: drawn(before + 2), 30, lambda: seen.decode(errors="replace"))
    if isinstance(end, bytes):
        os.write(primary, end)
    else:
        process.send_signal(end)
    assert process.wait(20) == 0
    drawn(0)
    assert seen.count(b"\x1b[?1049h") == seen.count(b"\x1b[?1049l") == 1, "the screen is back"
    assert b"\x1b[?25h" in seen, "and the cursor"
    assert b"Traceback" not in seen
    for terminal in (primary, secondary):
        os.close(terminal)


def test_again_and_again_for_programs(filled, config):
    with subprocess.Popen(
        command(config, "--interval", "0.5", "--json"), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert [one["Accounts"][0]["Account"] for one in lines] == [ACCOUNT] * 2


@pytest.mark.parametrize("interval", ["0", "-1", "nan", "1e9"])
def test_an_interval_that_is_none(config, interval):
    invoke("top", config, "--interval", interval, code=2)
