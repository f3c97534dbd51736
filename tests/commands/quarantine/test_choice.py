"""What a command line chooses that is not there is an error that names what is."""

from __future__ import annotations

import click
import pytest

from orthanc_gcp.commands.quarantine.choice import Choice, refuse_unknown
from orthanc_gcp.custody.reporting.operations import retried_states
from orthanc_gcp.ledger.schema import State, transfers
from tests.support.transfers import arrive, settle


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
        refuse_unknown(filled, Choice(**choice), [State.QUARANTINED])
    assert ended.value.exit_code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "choice",
    [{}, {"account": "b"}, {"study": "7"}, {"reason": "conflict"}, {"instance": "7.1.0"}],
)
def test_what_is_there_or_is_known(filled, choice):
    refuse_unknown(filled, Choice(**choice), [State.QUARANTINED])


def test_of_what_was_dismissed(filled, capsys):
    with pytest.raises(click.exceptions.Exit):
        refuse_unknown(filled, Choice(reason="invalid"), [State.DISMISSED])
    assert "nothing is dismissed for the reason invalid: there is none" in capsys.readouterr().err


NAMED = retried_states(named=True, dismissed=False)


@pytest.fixture
def withdrawn(filled):
    arrive(filled, 2, study="8", account="b")
    settle(filled, State.WITHDRAWN, 1, account="b", reason="deleted")
    (newest,) = settle(filled, State.QUARANTINED, account="b", reason="superseded")
    with filled.writing() as connection:
        mine = transfers.c.id == newest
        connection.execute(transfers.update().where(mine).values(state=State.SUPERSEDED))
    return filled


@pytest.mark.parametrize("choice", [{"study": "8"}, {"instance": "8.1.0"}])
def test_a_reason_outside_of_quarantine_that_a_retry_of_it_is_about(withdrawn, choice):
    refuse_unknown(withdrawn, Choice(**choice, reason="deleted"), NAMED)


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (
            {"study": "8", "reason": "conflict"},
            "nothing of study 8 is in quarantine, withdrawn, lost or dismissed for the reason "
            "conflict: expected one of deleted\n",
        ),
        (
            {"study": "8", "reason": "superseded"},
            "for the reason superseded: what has this reason is superseded; expected one of "
            "deleted\n",
        ),
        (
            {"study": "1", "instance": "1.1.0", "reason": "deleted"},
            "nothing of instance 1.1.0 of study 1 is in quarantine, withdrawn, lost or dismissed "
            "for the reason deleted: expected one of conflict\n",
        ),
    ],
)
def test_a_reason_that_a_retry_of_it_is_not_about(withdrawn, choice, words, capsys):
    with pytest.raises(click.exceptions.Exit):
        refuse_unknown(withdrawn, Choice(**choice), NAMED)
    assert words in capsys.readouterr().err


def test_a_reason_of_another_study_is_none_of_this_one(filled, capsys):
    with pytest.raises(click.exceptions.Exit):
        refuse_unknown(filled, Choice(study="2", reason="conflict"), [State.QUARANTINED])
    said = capsys.readouterr().err
    assert "nothing of study 2 is in quarantine for the reason conflict: expected one of" in said
