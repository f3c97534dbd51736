"""``orthanc-gcp quarantine`` without an Orthanc or a worker: the ledger is enough."""

from __future__ import annotations

import json
import shlex

import pytest

from orthanc_gcp.custody.reporting.operations import retry
from orthanc_gcp.ledger.schema import State
from tests.support.command_ledger import config, own_ledger
from tests.support.terminal import invoke
from tests.support.transfers import arrive, events_of, settle

__all__ = ["config", "own_ledger"]

LIST = "1-0123456789abcdef"


@pytest.fixture
def filled(own_ledger):
    for study, reason in (("1", "conflict"), ("2", "invalid")):
        arrive(own_ledger, 2, study=study, account="my-google")
        settle(
            own_ledger,
            State.QUARANTINED,
            account="my-google",
            reason=reason,
            detail="the store\x1b[2J says",
        )
    return own_ledger


def quarantine(config, *arguments, code=0):
    return invoke("quarantine", config, *arguments, code=code)


def listed(config, *choice):
    """What dismisses what is listed just now; a reason follows."""
    found = json.loads(quarantine(config, *choice, "--json", code=1).output)
    return "--listed", found["Listed"], "--dismiss"


def test_nothing(own_ledger, config):
    assert quarantine(config).output == "nothing is in quarantine\n"
    assert quarantine(config, "--show").output == "nothing is in quarantine\n"
    assert quarantine(config, "--dismissed").output == "nothing is dismissed\n"
    assert json.loads(quarantine(config, "--json").output) == {"Groups": [], "Listed": None}
    assert json.loads(quarantine(config, "--show", "--json").output) == []


def test_the_list_names_reason_words_and_remedy(filled, config):
    said = quarantine(config, code=1).output
    assert "my-google: conflict: 2 instances of 1 study, 200 bytes, the oldest received 20" in said
    assert "  such as 1.1.0: the store\ufffd[2J says\n" in said
    assert "  the store has other bytes under these UIDs: compare both; delete those" in said
    (group,) = json.loads(quarantine(config, "--reason", "invalid", "--json", code=1).output)[
        "Groups"
    ]
    assert (group["Reason"], group["Instances"]) == ("invalid", 2)


def test_one_is_shown(filled, config):
    said = quarantine(config, "--show", "--instance", "2.1.1", code=1).output
    assert said.startswith("my-google: invalid: instance 2.1.1, 100 bytes\n  study     2\n")
    assert "  remedy    the store cannot read the file" in said
    found = json.loads(quarantine(config, "--show", "--json", code=1).output)
    assert [one["Instance"] for one in found] == ["1.1.0", "1.1.1", "2.1.0", "2.1.1"]


def test_dismissed_by_whom_and_why_and_back(filled, config):
    words = ("--study", "1", "--by", "jane")
    assert quarantine(config, *listed(config, "--study", "1"), "a phantom", *words).output == (
        "dismissed by jane (as typed): 2 instances\n"
    )
    told = json.loads(quarantine(config, "--dismiss", "all", "--all", "--json").output)
    assert told["Dismissed"] == 2
    assert " at " in told["By"]
    assert "(as typed)" not in told["By"], "the system knows who runs it"
    assert quarantine(config).output == "nothing is in quarantine\n"
    said = quarantine(config, "--dismissed").output
    assert "  such as 1.1.0: dismissed by jane (as typed): a phantom\n" in said
    assert "--listed" not in said
    assert "dismissed" in invoke("status", config).output
    assert len(events_of(filled, "dismissed")) == 4
    said = quarantine(config, "--dismissed", "--retry", "--reason", "conflict").output
    assert said == "queued again: 2 instances, they are sent as soon as a worker runs\n"
    assert len(retry(filled, dismissed=True)) == 2


@pytest.mark.parametrize("show", [[], ["--show"]])
def test_what_came_after_the_list_is_not_dismissed(filled, config, show):
    """Nobody has looked at it."""
    last = quarantine(config, "--reason", "invalid", *show, code=1).output.splitlines()[-1]
    words = shlex.split(last.partition("may dismiss it: ")[2])
    assert words[:3] == ["orthanc-gcp", "quarantine", str(config)]
    arrive(filled, 1, study="3", account="my-google")
    settle(filled, State.QUARANTINED, account="my-google", reason="invalid", detail="")
    assert invoke(*words[1:-1], "phantoms").output.endswith(": 2 instances\n")
    (left,) = json.loads(quarantine(config, "--reason", "invalid", "--json", code=1).output)[
        "Groups"
    ]
    assert left["Example"] == "3.1.0"


def test_what_was_retried_after_the_list_is_not_dismissed(filled, config):
    """It may be in quarantine again for another reason, or with other bytes."""
    names = listed(config)
    retry(filled, "my-google", instance="1.1.0")
    settle(filled, State.QUARANTINED, account="my-google", reason="invalid", detail="")
    done = quarantine(config, *names, "phantoms", "--all", code=2)
    assert done.stderr.startswith("--listed: what is in quarantine is not what was listed")
    other = quarantine(config, *listed(config), "phantoms", "--study", "1", code=2)
    assert other.stderr == done.stderr, "another choice"
    assert events_of(filled, "dismissed") == []


def test_of_one_store(filled, config):
    (store,) = {
        one["Destination"]
        for one in json.loads(quarantine(config, "--json", code=1).output)["Groups"]
    }
    assert quarantine(config, "--destination", store + 1).output == "nothing is in quarantine\n"
    chosen = ("--destination", store)
    names = listed(config, *chosen)
    assert "4 instances" in quarantine(config, *names, "phantoms", "--all", *chosen).output


def test_retry_from_here(filled, config):
    assert "queued again: 2 instances" in quarantine(config, "--retry", "--study", "1").output
    assert json.loads(quarantine(config, "--retry", "--json").output) == {
        "Queued": 2,
        "Worker": False,
        "Left": 0,
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--show", "--retry"], "expected one of --show, --retry and --dismiss"),
        (["--retry", "--dismiss", "x", "--all"], "expected one of --show, --retry and --dismiss"),
        (["--all"], "--all, --by and --listed belong to --dismiss"),
        (["--by", "jane"], "--all, --by and --listed belong to --dismiss"),
        (["--dismiss", "x"], "--dismiss: expected --study, --instance or --reason, or else --all"),
        (["--listed", "1"], "--all, --by and --listed belong to --dismiss"),
        (["--dismiss", "x", "--all", "--listed", "x"], "--listed: expected the name of a list"),
        (["--retry", "--destination", "1"], "--retry sends to the stores that the accounts are"),
        (["--dismiss", "x", "--all", "--study", "1"], "--dismiss: expected --study"),
        (["--dismiss", "x", "--account", "my-google"], "--dismiss: expected --study"),
        (["--dismiss", "", "--all", "--listed", LIST], "--dismiss: expected words"),
        (["--dismiss", "a\nb", "--all", "--listed", LIST], "--dismiss: expected text of one line"),
        (["--dismiss", "x", "--all", "--by", "", "--listed", LIST], "--by: expected words"),
        (
            ["--dismiss", "x", "--all", "--by", "j" * 151, "--listed", LIST],
            "--by: expected 150 characters at most",
        ),
        (["--dismiss", "x", "--all", "--dismissed"], "what is dismissed cannot be dismissed"),
        (["--wait"], "--wait belongs to --retry"),
        (["--account", "nobody"], "there is no account nobody: expected one of my-google"),
        (["--reason", "none"], "nothing is in quarantine for the reason none: expected one of"),
        (["--study", "9", "--retry"], "the ledger knows of no study 9"),
        (
            ["--dismiss", "x", "--instance", "9", "--listed", LIST],
            "the ledger knows of no instance 9",
        ),
    ],
)
def test_what_does_not_go_together(filled, config, options, words):
    done = quarantine(config, *options, code=2)
    assert done.stderr.startswith(words)
    assert events_of(filled, "dismissed") == events_of(filled, "retried") == []
