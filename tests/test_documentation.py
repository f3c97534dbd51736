"""The documents against the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from orthanc_gcp import configuration
from orthanc_gcp.cli import app
from orthanc_gcp.configuration import Account, Backfill, DicomWeb, Globals, Section, SendRule
from orthanc_gcp.configuration.kinds import option_names

ROOT = Path(__file__).parents[1]
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def table(title: str) -> dict[str, str]:
    """The options of a section's table, with their documented defaults."""
    section = CONFIGURATION.split(f"\n## {title}")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \|([^|]*)\|", section, re.MULTILINE)
    return {name: default.strip() for name, default in rows}


@pytest.mark.parametrize(
    ("title", "options"),
    [
        ("Options of an account", option_names(Account)),
        ("Options of the section", [*option_names(Section), "Accounts", "Send", "Backfill"]),
        ("Rules", option_names(SendRule)),
        ("Backfill", option_names(Backfill)),
        (
            "Options of Orthanc",
            [
                *option_names(Globals),
                *(f"DicomWeb.{name}" for name in option_names(DicomWeb)),
                "DicomWeb.Servers.{name}",
            ],
        ),
    ],
)
def test_every_option_is_documented_and_no_other(title, options):
    assert sorted(table(title)) == sorted(options)


def test_documented_defaults():
    section, account, orthanc = (
        table("Options of the section"),
        table("Options of an account"),
        table("Options of Orthanc"),
    )
    assert section["BaseUrl"] == f"`{Section().base_url}`"
    assert int(section["Timeout"]) == Section().timeout
    assert int(section["RefreshInterval"]) == Section().refresh_interval
    assert json.loads(account["Scopes"].strip("`")) == [configuration.HEALTHCARE_SCOPE]
    assert orthanc["HttpsVerifyPeers"] == "`true`"
    assert Globals().https_verify_peers is True
    assert orthanc["DicomWeb.Root"] == f"`{DicomWeb().root}`"
    assert int(table("Backfill")["MaxWaiting"]) == Backfill().max_waiting
    mandatory = {name for name, default in account.items() if default == "mandatory"}
    assert mandatory == {"Project", "Location", "Dataset", "DicomStore"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_examples_are_right(document):
    """Each JSON block is JSON, and each configuration in one is read without a problem."""
    for block in re.findall(r"```json\n(.*?)```", document.read_text(), re.DOTALL):
        example = json.loads(block)
        if "GoogleCloudPlatform" in example:
            settings = configuration.read(example)
            assert [str(problem) for problem in settings.problems] == []
            assert settings.accounts


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), target


def test_commands_named_in_documents_exist():
    commands = {
        (command.name or command.callback.__name__.replace("_", "-"))
        for command in app.registered_commands
    }
    for document in DOCUMENTS:
        named = re.findall(r"[/`\n]orthanc-gcp ([a-z-]+)", document.read_text())
        assert set(named) <= commands


def test_make_targets_named_in_documents_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        assert set(re.findall(r"`make ([a-z]+)`", document.read_text())) <= targets
