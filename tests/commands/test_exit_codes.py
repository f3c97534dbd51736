"""Each command ends as the table in docs/commands.md says, and the table has no other end."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from orthanc_gcp.cli import app
from orthanc_gcp.custody.reporting.losses import losses
from orthanc_gcp.ledger.schema import State
from tests.support.command_ledger import config, own_ledger
from tests.support.terminal import invoke
from tests.support.transfers import arrive, confirm, settle

__all__ = ["config", "own_ledger"]

ROOT = Path(__file__).parents[2]
ACCOUNT = "my-google"
HERE = {
    ("check", 1): ["CONFIG"],
    ("status", 0): ["CONFIG"],
    ("top", 0): ["CONFIG"],
    ("receipt", 0): ["CONFIG", "3"],
    ("receipt", 1): ["CONFIG", "1"],
    ("quarantine", 0): ["CONFIG", "--retry"],
    ("quarantine", 1): ["CONFIG"],
    ("retry", 0): ["CONFIG"],
    ("pause", 0): ["CONFIG", ACCOUNT],
    ("resume", 0): ["CONFIG", ACCOUNT],
    ("indexes", 0): ["CONFIG"],
    ("losses", 0): ["CONFIG", "--acknowledge", "LISTED"],
    ("losses", 1): ["CONFIG"],
    ("destinations", 0): ["CONFIG"],
    ("plugin-script", 0): [],
}
"""Commands that a ledger is enough for."""
_AUDIT = "commands/audit/test_command.py::test_audit_finds_what_is_missing_different_and_unknown"
ELSEWHERE = {
    ("install", 0): "commands/test_install.py::test_there_and_back_without_an_account",
    ("install", 1): "commands/test_install.py::test_an_account_is_checked",
    ("check", 0): "commands/test_check.py::test_the_exit_code",
    ("worker", 0): "commands/test_worker.py::test_it_waits_for_orthanc_until_it_is_stopped",
    ("worker", 1): "commands/test_worker.py::test_why_it_ends_by_itself",
    ("audit", 0): _AUDIT,
    ("audit", 1): _AUDIT,
    ("query", 0): "commands/test_schemas.py::test_of_what_asks_an_orthanc_or_a_store",
    ("retrieve", 0): "commands/retrieval/test_retrieve.py::test_a_study_comes_back",
    ("retrieve", 1): "commands/retrieval/test_retrieve.py::test_what_does_not_come_is_said",
    ("send", 0): "commands/test_pause_resume.py::test_pause_and_resume",
    ("send", 1): "commands/live/test_following.py::test_until_all_has_ended",
    ("backfill", 0): "commands/test_backfill.py::test_how_far_it_is_and_what_a_person_has_it_do",
    ("backfill", 1): "commands/test_backfill.py::test_what_has_ended_and_is_not_confirmed",
    ("retry", 1): "commands/quarantine/test_retry.py::test_retry_sends_what_is_in_quarantine",
    ("gateway", 0): "commands/retrieval/test_gateway.py::test_it_runs_until_it_is_stopped",
    ("sidecar", 0): "commands/test_sidecar.py::test_it_waits_for_orthanc_until_it_is_stopped",
    ("demo", 0): "commands/test_demo.py::test_without_a_terminal_it_ends",
    ("demo", 1): "commands/test_demo.py::test_in_this_process",
}
"""The others, and the test that sees it."""


def documented() -> set[tuple[str, int]]:
    """Each command with the exit codes 0 and 1 that it can have."""
    text = (ROOT / "docs" / "commands.md").read_text()
    (table,) = re.findall(r"^\| command \| 0 \| 1 \|\n.*?\n\n", text, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| `([\w-]+)` \| ([^|]+) \|([^|]*)\|$", table, re.MULTILINE)
    return {(name, 0) for name, *_ in rows} | {(name, 1) for name, _, one in rows if one.strip()}


@pytest.fixture
def filled(own_ledger):
    for study, state, reason in (
        ("1", State.QUARANTINED, "invalid"),
        ("2", State.LOST, "recycled"),
    ):
        arrive(own_ledger, 2, study=study, account=ACCOUNT)
        settle(own_ledger, state, account=ACCOUNT, reason=reason)
    arrive(own_ledger, 2, study="3", account=ACCOUNT)
    confirm(own_ledger, account=ACCOUNT)
    return own_ledger


@pytest.mark.parametrize(("name", "code"), HERE)
def test_as_documented(filled, config, name, code):
    assert (name, code) in documented()
    values = {"CONFIG": config, "LISTED": losses(filled).listed}
    arguments = [values.get(one, one) for one in HERE[name, code]]
    invoke(name, *arguments, code=code)


def test_every_end_is_seen_and_every_command_has_one():
    ends = documented()
    of_emulator = {("emulator", 0), ("emulator", 1)}  # its tests are with it
    assert {*HERE, *ELSEWHERE} == ends - of_emulator
    assert {name for name, _ in ends} == set(app.commands)


@pytest.mark.parametrize("place", sorted(set(ELSEWHERE.values())))
def test_what_is_seen_elsewhere_is_there(place):
    file, _, name = place.partition("::")
    assert f"def {name}(" in (ROOT / "tests" / file).read_text()


def test_ctrl_c_while_it_checks(config, monkeypatch):
    from orthanc_gcp.commands import check as module
    from orthanc_gcp.doctor import Finding, Result

    def account(*_arguments, **_options):
        yield Finding("configuration", Result.PASSED, "it is read")
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(module, "_account", account)
    for options in ([], ["--json"]):
        done = invoke("check", config, *options, code=130)
        said = done.stderr.splitlines()[-1]
        assert "broken off after" in said
        assert said.endswith("of Orthanc, account my-google; not begun: custody")
        assert "passed" not in done.stdout or not options
