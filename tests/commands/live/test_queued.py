"""What was queued is said, and when it will be sent."""

from __future__ import annotations

import json

import click
import pytest

from orthanc_gcp.commands.live.queued import say_queued
from orthanc_gcp.configuration import read
from tests.support.transfers import arrive, confirm


def said(capsys, ledger, rows, code=0, **how):
    with pytest.raises(click.exceptions.Exit) as ended:
        say_queued(ledger, read({}), "queued", rows, **{"wait": False, "as_json": False, **how})
    assert ended.value.exit_code == code
    return capsys.readouterr().out


def test_without_a_worker(ledger, capsys):
    later = ", they are sent as soon as a worker runs"
    assert said(capsys, ledger, [1, 2]) == f"queued: 2 instances{later}\n"
    assert said(capsys, ledger, []) == "queued: 0 instances\n"
    assert said(capsys, ledger, [1, 2], queued=1) == f"queued: 1 instance{later}\n"
    assert json.loads(said(capsys, ledger, [1], as_json=True)) == {"Queued": 1, "Worker": False}


def test_what_was_queued_before_is_waited_for_all_the_same(ledger, capsys):
    arrive(ledger)
    confirm(ledger)
    found = json.loads(said(capsys, ledger, [1], queued=0, wait=True, as_json=True))
    assert (found["Queued"], found["Confirmed"]) == (0, 1)
    words = said(capsys, ledger, [1, 7], 1, wait=True)
    assert words.endswith("1 of 2 instances confirmed\n  and 1 more\n")
