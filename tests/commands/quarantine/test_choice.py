"""What a command line chooses that is not there is an error that names what is."""

from __future__ import annotations

import click
import pytest

from orthanc_gcp.commands.quarantine.choice import Choice, refuse_unknown
from orthanc_gcp.ledger.schema import State
from tests.support.ledgers import clock, engine, ledger, postgresql
from tests.support.transfers import arrive, settle

__all__ = ["clock", "engine", "ledger", "postgresql"]


@pytest.fixture
def filled(ledger):
    for study in "123456":
        arrive(ledger, 1, study=study)
        settle(ledger, State.QUARANTINED, reason="conflict" if study == "1" else "invalid")
    arrive(ledger, 1, study="7")
    return ledger


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (
            {"reason": "gave_up"},
            "nothing is in quarantine for the reason gave_up: expected one of conflict, invalid\n",
        ),
        ({"account": "b", "reason": "invalid"}, "for the reason invalid: there is none\n"),
        (
            {"study": "9"},
            "the ledger knows of no study 9: in quarantine are 1, 2, 3, 4, 5 and others\n",
        ),
        ({"study": "\x1b[2J"}, "knows of no study \ufffd[2J:"),
        ({"instance": "9"}, "the ledger knows of no instance 9\n"),
        ({"instance": "\ud800"}, "the ledger knows of no instance"),
    ],
)
def test_what_is_not_there(filled, choice, words, capsys):
    with pytest.raises(click.exceptions.Exit) as ended:
        refuse_unknown(filled, Choice(**choice), State.QUARANTINED)
    assert ended.value.exit_code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "choice",
    [{}, {"account": "b"}, {"study": "7"}, {"reason": "conflict"}, {"instance": "7.1.0"}],
)
def test_what_is_there_or_is_known(filled, choice):
    refuse_unknown(filled, Choice(**choice), State.QUARANTINED)


def test_of_what_was_dismissed(filled, capsys):
    with pytest.raises(click.exceptions.Exit):
        refuse_unknown(filled, Choice(reason="invalid"), State.DISMISSED)
    assert "nothing is dismissed for the reason invalid: there is none" in capsys.readouterr().err
