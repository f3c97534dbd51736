"""The documents against the code."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from itertools import chain
from pathlib import Path

import pytest

from orthanc_gcp import configuration
from orthanc_gcp.cli import app
from orthanc_gcp.configuration import (
    Account,
    BackfillOptions,
    DicomWeb,
    Globals,
    PythonPlugin,
    Section,
    SendRule,
)
from orthanc_gcp.configuration.option_types import option_names
from orthanc_gcp.ledger.schema import State
from orthanc_gcp.plugin.routes import (
    CONNECTOR_ROUTES,
    WORKER_ROUTES,
    from_connector,
    from_worker,
)
from orthanc_gcp.worker.samples import OF_ORTHANC, OF_WORKER, RESULTS, STATES

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "orthanc_gcp"
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()
PERFORMANCE = (ROOT / "docs" / "performance.md").read_text()
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
        ("Backfill", option_names(BackfillOptions)),
        (
            "Options of Orthanc",
            [
                *option_names(Globals),
                *(f"DicomWeb.{name}" for name in option_names(DicomWeb)),
                *(f"Python.{name}" for name in option_names(PythonPlugin)),
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
    assert int(section["WebhookBacklogAgeSeconds"]) == Section().webhook_backlog_age_seconds
    assert int(orthanc["HttpPort"]) == Globals().http_port
    assert orthanc["RemoteAccessAllowed"] == "`false`"
    assert Globals().remote_access_allowed is False
    assert Globals().authentication_enabled is None
    assert orthanc["SslCertificate"] == f"`{Globals().ssl_certificate}`"
    assert json.loads(account["Scopes"].strip("`")) == [configuration.HEALTHCARE_SCOPE]
    assert orthanc["HttpsVerifyPeers"] == "`true`"
    assert Globals().https_verify_peers is True
    assert orthanc["DicomWeb.Root"] == f"`{DicomWeb().root}`"
    assert int(table("Backfill")["MaxQueuedInstances"]) == BackfillOptions().max_queued_instances
    mandatory = {name for name, default in account.items() if default == "mandatory"}
    assert mandatory == {"Project", "Location", "Dataset", "DicomStore"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_examples_are_right(document):
    """Each JSON block is JSON, and each configuration in one is read without a problem."""
    for block in re.findall(r"```json\n(.*?)```", document.read_text(), re.DOTALL):
        example = json.loads(block)
        if "Accounts" in example.get("GoogleCloudPlatform", {}):
            settings = configuration.read(example)
            assert [str(problem) for problem in settings.problems] == []
            assert settings.accounts


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), target


COMMANDS = app.commands
GUIDE = (ROOT / "docs" / "commands.md").read_text()


def test_commands_named_in_documents_exist():
    for document in DOCUMENTS:
        named = re.findall(r"[/`\n]orthanc-gcp ([a-z-]+)", document.read_text())
        assert set(named) <= set(COMMANDS)


def test_every_command_is_documented_and_no_other():
    listed = list(table_of(GUIDE.split("\n## ")[0], ""))
    assert re.findall(r"^## (.+)$", GUIDE, re.MULTILINE) == listed
    assert sorted(listed) == sorted(COMMANDS)


# The emulator's options have a guide and a test of their own.
@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"emulator"}))
def test_every_option_of_a_command_is_documented_and_no_other(name):
    parameters = COMMANDS[name].params
    options = {one.opts[0]: one for one in parameters if one.param_type_name == "option"}
    section = GUIDE.split(f"\n## {name}\n")[1].split("\n## ")[0]
    documented = table_of(section, "--")
    assert set(documented) == set(options) - {"--help"}
    for option, default in documented.items():
        if isinstance(options[option].show_default, str):
            assert default == options[option].show_default
        if isinstance(options[option].default, str) and default.startswith("`"):
            assert default == f"`{options[option].default}`"
        if options[option].envvar:
            assert f"`{options[option].envvar}`" in section
    for argument in parameters:
        if argument.param_type_name == "argument":
            assert (argument.metavar or argument.name.upper()).strip("[].") in section


def table_of(text: str, prefix: str) -> dict[str, str]:
    """The first two cells of each row about what begins with a prefix."""
    rows = re.findall(r"^\| \[?`([^`]+)`[^|]*\|([^|]*)\|", text, re.MULTILINE)
    return {name: cell.strip() for name, cell in rows if name.startswith(prefix)}


def test_measurements_that_are_shown_can_be_asked_for():
    """They take hours: only whether their commands are understood is seen here."""
    from bench.__main__ import NAMES, parser

    lines = re.findall(r"^\.venv/bin/python -m bench (.+)$", PERFORMANCE, re.MULTILINE)
    assert lines
    for line in lines:
        arguments = parser().parse_args(shlex.split(line, comments=True))
        assert set(arguments.names) <= set(NAMES)
    for names in re.findall(r'^make bench NAMES="([^"]+)"', PERFORMANCE, re.MULTILINE):
        assert set(names.split()) <= set(NAMES)


def test_make_targets_named_in_documents_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        assert set(re.findall(r"`make ([a-z]+)`", document.read_text())) <= targets


def test_commands_for_a_checkout_can_be_given():
    """Each is a target of make, or runs tests that are there."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for program, *arguments in map(shlex.split, block.splitlines()):
            if program == "make":
                assert set(arguments) <= targets
            else:
                assert program == ".venv/bin/pytest"
                assert (ROOT / arguments[0]).exists(), arguments[0]


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_files_named_for_those_who_change_them_exist(document):
    """Each path in the text is one of the repository, of the package, or of a room before it."""
    text = (ROOT / document).read_text()
    for name in re.findall(r"`([\w./-]+/|[\w./-]+\.(?:py|md|sql))`", text):
        places = [ROOT, PACKAGE, *(room for room in PACKAGE.rglob("*") if room.is_dir())]
        assert any((place / name).exists() for place in places), name


def test_every_target_of_make_is_documented_and_no_other():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| `make ([a-z]+)` \|", text, re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert sorted(rows) == sorted(phony.split())


def test_every_library_is_in_the_architecture_and_no_other():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    names = {re.match(r"[\w-]+", one)[0].lower() for one in wanted} - {"orthanc-gcp"}
    section = (ROOT / "docs" / "architecture.md").read_text().split("\n## Libraries\n")[1]
    cells = re.findall(r"^\| ([^|`]+) \|", section.split("Own code")[0], re.MULTILINE)
    listed = {name.strip().lower() for cell in cells[1:] for name in cell.split(",")}
    assert listed - {"---"} == names


def documented_routes(document: str) -> set[tuple[str, str]]:
    text = (ROOT / "docs" / document).read_text()
    return set(re.findall(r"^\| `(GET|POST) (/gcp/[^`]*)`", text, re.MULTILINE))


def test_every_route_is_documented_and_no_other():
    served = {
        (method, path.replace("([^/]+)", "{name}").replace("(", "").replace(")", ""))
        for route in (*CONNECTOR_ROUTES, *WORKER_ROUTES)
        for path in alternatives(route)
        for method in ("GET", "POST")
        if answers(route, path, method)
    }
    documents = ("custody.md", "retrieval.md", "troubleshooting.md")
    assert set().union(*map(documented_routes, documents)) == served


def alternatives(route: str) -> list[str]:
    """The paths that a route stands for."""
    found = re.search(r"\((\w+(?:\|\w+)+)\)", route)
    return [route.replace(found[0], one) for one in found[1].split("|")] if found else [route]


def answers(route: str, path: str, method: str) -> bool:
    """Whether a method is not refused (405) at a path."""
    groups = re.fullmatch(route, path.replace("([^/]+)", "x").translate({40: None, 41: None}))
    assert groups is not None
    if route in WORKER_ROUTES:
        return from_worker(None, method, groups.groups(), {}, b"").status != 405
    return from_connector(None, method, groups.groups()).status != 405


def test_every_metric_is_documented_and_no_other():
    section = (ROOT / "docs" / "custody.md").read_text().split("\n## Metrics")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(gcp_\w+)` \| (\w+) \| ([\w, ]+) \|", section, re.MULTILINE)
    assert {(name, kind, where) for name, kind, where in rows} == {
        (one.name, "counter" if one.is_counter else "gauge", shown_by(one))
        for one in (*OF_ORTHANC, *OF_WORKER)
    }
    for values in (STATES, RESULTS):
        assert ", ".join(f"`{one}`" for one in values) in section


def shown_by(metric) -> str:
    shown = (("Orthanc", OF_ORTHANC), ("worker", OF_WORKER))
    return ", ".join(where for where, metrics in shown if metric in metrics)


def test_every_state_is_documented():
    section = (ROOT / "docs" / "custody.md").read_text().split("\n## States")[1]
    assert re.findall(r"^\| `(\w+)`", section.split("\n## ")[0], re.MULTILINE) == list(State)
