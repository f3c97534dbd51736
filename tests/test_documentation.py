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
    GatewayOptions,
    Globals,
    MailOptions,
    PrefetchRule,
    PythonPlugin,
    ReceiveRule,
    Section,
    SendRule,
    WorklistPlugin,
)
from orthanc_gcp.configuration.option_types import option_names
from orthanc_gcp.configuration.reading import BESIDE
from orthanc_gcp.ledger.schema import State
from orthanc_gcp.plugin.page.serving import FILES
from orthanc_gcp.plugin.routes import (
    CONNECTOR_ROUTES,
    GATEWAY_ROUTES,
    WORKER_ROUTES,
    from_connector,
    from_gateway,
    from_worker,
)
from orthanc_gcp.worker.samples import OF_ORTHANC, OF_WORKER, RESULTS, STATES
from tests.support.listing import assert_same

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "orthanc_gcp"
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()
PERFORMANCE = (ROOT / "docs" / "performance.md").read_text()
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def table(title: str) -> dict[str, str]:
    """The options of a section's table, with their documented defaults."""
    rows = re.findall(r"^\| `([^`]+)` \|([^|]*)\|", section_of(CONFIGURATION, title), re.MULTILINE)
    return {name: default.strip() for name, default in rows}


def section_of(text: str, title: str) -> str:
    """What stands below a heading that begins so."""
    parts = text.split(f"\n## {title}")
    assert len(parts) > 1, f'add the heading "## {title}" to the page'
    return parts[1].split("\n## ")[0]


@pytest.mark.parametrize(
    ("title", "options"),
    [
        ("Options of an account", option_names(Account)),
        (
            "Options of the section",
            [*option_names(Section), *BESIDE],
        ),
        ("Rules", option_names(SendRule)),
        ("Backfill", option_names(BackfillOptions)),
        ("Receive", option_names(ReceiveRule)),
        ("Prefetch", option_names(PrefetchRule)),
        ("Gateway", option_names(GatewayOptions)),
        ("Mail", option_names(MailOptions)),
        (
            "Options of Orthanc",
            [
                *option_names(Globals),
                *(f"DicomWeb.{name}" for name in option_names(DicomWeb)),
                *(f"Python.{name}" for name in option_names(PythonPlugin)),
                *(f"Worklists.{name}" for name in option_names(WorklistPlugin)),
                "DicomWeb.Servers.{name}",
            ],
        ),
    ],
)
def test_every_option_is_documented_and_no_other(title, options):
    assert_same(
        table(title),
        options,
        page="docs/configuration.md",
        place=f'the table below "## {title}"',
        source="configuration/options.py",
    )


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
    assert int(table("Prefetch")["MaxStudies"]) == PrefetchRule(account="a").max_studies
    gateway = GatewayOptions(aets={})
    assert int(table("Gateway")["Port"]) == gateway.port
    assert int(table("Gateway")["MaxAssociations"]) == gateway.max_associations
    assert int(table("Gateway")["MaxAnswers"]) == gateway.max_answers
    mail = MailOptions(server="s", sender="a@b", to=("c@d",))
    assert int(table("Mail")["Port"]) == mail.port
    assert table("Mail")["Encryption"] == f"`{mail.encryption}`"
    wait = table("Gateway")["CommitmentTimeoutSeconds"]
    assert int(wait) == gateway.commitment_timeout_seconds
    assert int(orthanc["DicomScpTimeout"]) == Globals().dicom_scp_timeout
    assert int(orthanc["MaximumPduLength"]) == Globals().maximum_pdu_length
    mandatory = {name for name, default in account.items() if default == "mandatory"}
    assert mandatory == {"Project", "Location", "Dataset", "DicomStore"}


MIGRATION = (ROOT / "docs" / "migration.md").read_text()
MIGRATED, NEW = "Option by option", "What there was no option for"
OF_THE_SECTION = {*option_names(Section), *BESIDE}


def first_cells(text: str) -> list[str]:
    """What the rows of tables begin with, where that is one word of code."""
    return re.findall(r"^\| `([\w.]+)` \|", text, re.MULTILINE)


def test_every_option_is_one_of_the_original_or_a_new_one():
    """Each stands once in the page on migration: what is accepted here, and what was there."""
    own, orthancs = section_of(MIGRATION, MIGRATED).split("\nWhat Orthanc's own options do")
    migrated, new = first_cells(own), first_cells(section_of(MIGRATION, NEW))
    assert_same(
        [*migrated, *new],
        {*option_names(Account), *OF_THE_SECTION},
        page="docs/migration.md",
        place=f'a table of options below "## {NEW}"',
        source="configuration/options.py",
    )
    twice = sorted(set(migrated) & set(new))
    assert not twice, f"docs/migration.md: `{twice[0]}` is no new option"
    followed = {*option_names(Globals), *(f"DicomWeb.{name}" for name in option_names(DicomWeb))}
    # This one is the DICOMweb plugin's alone.
    assert set(first_cells(orthancs)) - {"HttpTimeout"} <= followed


def test_what_a_wrong_value_does_is_told_of_every_shared_option():
    named = re.findall(r"`(\w+)`", section_of(CONFIGURATION, "Mistakes"))
    where = 'docs/configuration.md, the table below "## Mistakes"'
    for name in option_names(Section):
        assert name in named, f"add `{name}` to {where}"


def test_new_options_stand_in_the_table_of_their_place():
    accounts, section = section_of(MIGRATION, NEW).split("\n| option of the section |")
    for text, options in ((accounts, option_names(Account)), (section, OF_THE_SECTION)):
        wrong = sorted(set(first_cells(text)) - set(options))
        assert not wrong, f"docs/migration.md: move `{wrong[0]}` to the other table"


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
            there = (document.parent / target).exists()
            assert there, f"{document.name}: correct the link to {target}, which is not there"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_headings(document):
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", document.read_text()):
        page = document.parent / target if target else document
        assert anchor in anchors(page), (
            f"{document.name}: correct the link to {target}#{anchor}: there is no such heading"
        )


def anchors(page: Path) -> set[str]:
    """The headings of a page, as GitHub names them in addresses."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", title).lower().replace(" ", "-") for title in titles}


COMMANDS = app.commands
GUIDE = (ROOT / "docs" / "commands.md").read_text()


def test_commands_named_in_documents_exist():
    for document in DOCUMENTS:
        named = re.findall(r"[/`\n]orthanc-gcp ([a-z-]+)", document.read_text())
        unknown = sorted(set(named) - set(COMMANDS))
        assert not unknown, f"{document.name}: correct `orthanc-gcp {unknown[0]}`: no such command"


def test_every_command_is_documented_and_no_other():
    where = {"page": "docs/commands.md", "source": "cli.py"}
    listed = list(table_of(GUIDE.split("\n## ")[0], ""))
    assert_same(listed, COMMANDS, place="the table at the top", **where)
    headings = re.findall(r"^## (.+)$", GUIDE, re.MULTILINE)
    assert_same(headings, COMMANDS, place='a heading "## …" for each', **where)
    assert headings == listed, "docs/commands.md: bring table and headings into the same order"


# The emulator's options have a guide and a test of their own.
@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"emulator"}))
def test_every_option_of_a_command_is_documented_and_no_other(name):
    parameters = COMMANDS[name].params
    options = {one.opts[0]: one for one in parameters if one.param_type_name == "option"}
    section = section_of(GUIDE, f"{name}\n")
    documented = table_of(section, "--")
    place = f'below "## {name}"'
    assert_same(
        documented,
        set(options) - {"--help"},
        page="docs/commands.md",
        place=f"the table {place}",
        source=f"the module of {name} in commands/",
    )
    for option, default in documented.items():
        shown = options[option].show_default
        wanted = [shown] if isinstance(shown, str) else []
        if isinstance(options[option].default, str) and default.startswith("`"):
            wanted.append(f"`{options[option].default}`")
        for one in wanted:
            assert default == one, f"docs/commands.md, {place}: the default of `{option}` is {one}"
        variable = options[option].envvar
        assert not variable or f"`{variable}`" in section, (
            f"add `{variable}` to docs/commands.md, {place}"
        )
    for argument in parameters:
        if argument.param_type_name == "argument":
            word = (argument.metavar or argument.name.upper()).strip("[].")
            assert word in section, f"add {word} to docs/commands.md, {place}"


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
        unknown = sorted(set(re.findall(r"`make ([a-z]+)`", document.read_text())) - targets)
        assert not unknown, f"{document.name}: correct `make {unknown[0]}`: no such target"


def test_commands_for_a_checkout_can_be_given():
    """Each is a target of make, or runs tests that are there."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for program, *arguments in map(shlex.split, block.splitlines()):
            words = f"CONTRIBUTING.md: correct `{shlex.join([program, *arguments])}`"
            if program == "make":
                assert set(arguments) <= targets, words
            else:
                assert program == ".venv/bin/pytest", words
                assert (ROOT / arguments[0].partition("::")[0]).exists(), words


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_files_named_for_those_who_change_them_exist(document):
    """Each path in the text is one of the repository, of the package, or of a room before it."""
    text = (ROOT / document).read_text()
    for name in re.findall(r"`([\w./-]+/|[\w./-]+\.(?:py|md|sql))`", text):
        places = [ROOT, PACKAGE, *(room for room in PACKAGE.rglob("*") if room.is_dir())]
        assert any((place / name).exists() for place in places), (
            f"{document}: correct `{name}`, which is nowhere below the package"
        )


def test_every_target_of_make_is_documented_and_no_other():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| `make ([a-z]+)` \|", text, re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert_same(
        rows,
        phony.split(),
        page="CONTRIBUTING.md",
        place="the table of targets, as `make TARGET`",
        source=".PHONY in Makefile",
    )


def test_every_library_is_in_the_architecture_and_no_other():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    names = {re.match(r"[\w-]+", one)[0].lower() for one in wanted} - {"orthanc-gcp"}
    section = (ROOT / "docs" / "architecture.md").read_text().split("\n## Libraries\n")[1]
    cells = re.findall(r"^\| ([^|`]+) \|", section.split("Own code")[0], re.MULTILINE)
    listed = {name.strip().lower() for cell in cells[1:] for name in cell.split(",")}
    assert_same(
        listed - {"---"},
        names,
        page="docs/architecture.md",
        place='the table below "## Libraries"',
        source="pyproject.toml",
    )


def documented_routes(document: str) -> set[str]:
    text = (ROOT / "docs" / document).read_text()
    return set(re.findall(r"^\| `((?:GET|POST) /gcp/[^`]*)`", text, re.MULTILINE))


def served_routes() -> set[str]:
    return {
        f"{method} {path.replace('([^/]+)', '{name}').replace('(', '').replace(')', '')}"
        for route in (*CONNECTOR_ROUTES, *WORKER_ROUTES, *GATEWAY_ROUTES)
        for path in alternatives(route)
        for method in ("GET", "POST")
        if answers(route, path, method)
    }


def test_every_route_is_documented_and_no_other():
    served = served_routes()
    documents = ("custody.md", "gateway.md", "retrieval.md", "troubleshooting.md")
    assert_same(
        set().union(*map(documented_routes, documents)),
        served,
        page="docs/custody.md (transfers), docs/retrieval.md or docs/troubleshooting.md (accounts)",
        place="the table of routes",
        source="plugin/routes.py",
    )


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
    if route in GATEWAY_ROUTES:
        return from_gateway(None, method).status != 405
    return from_connector(None, method, groups.groups()).status != 405


def test_every_metric_is_documented_and_no_other():
    section = section_of((ROOT / "docs" / "custody.md").read_text(), "Metrics")
    rows = re.findall(r"^\| `(gcp_\w+)` \| (\w+) \| ([\w, ]+) \|", section, re.MULTILINE)
    place = {"page": "docs/custody.md", "place": 'the table below "## Metrics"'}
    there = {one.name: one for one in (*OF_ORTHANC, *OF_WORKER)}
    assert_same((name for name, *_ in rows), there, source="worker/samples.py", **place)
    for name, kind, where in rows:
        wanted = "counter" if there[name].is_counter else "gauge", shown_by(there[name])
        assert (kind, where) == wanted, (
            f"docs/custody.md: `{name}` is | {wanted[0]} | {wanted[1]} |"
        )
    for values in (STATES, RESULTS):
        words = ", ".join(f"`{one}`" for one in values)
        assert words in section, f'write {words} into docs/custody.md, below "## Metrics"'


def shown_by(metric) -> str:
    shown = (("Orthanc", OF_ORTHANC), ("worker", OF_WORKER))
    return ", ".join(where for where, metrics in shown if metric in metrics)


def test_every_state_is_documented():
    section = section_of((ROOT / "docs" / "custody.md").read_text(), "States")
    rows = re.findall(r"^\| `(\w+)`", section, re.MULTILINE)
    place = {"page": "docs/custody.md", "place": 'the table below "## States"'}
    assert_same(rows, map(str, State), source="ledger/schema.py", **place)
    assert rows == list(State), f"docs/custody.md: bring the states into the order {list(State)}"


def test_every_route_has_a_permission_and_no_other():
    """For Orthanc's authorization plugin, which refuses what none is for."""
    text = (ROOT / "docs" / "security.md").read_text()
    (block,) = [one for one in re.findall(r"```json\n(.*?)```", text, re.DOTALL) if "gcp/" in one]
    given = json.loads(block)["Authorization"]["ExtraPermissions"]
    served = {tuple(route.split(" ", 1)) for route in served_routes()}
    allowed: dict[tuple[str, str], set[str]] = {}
    (pages,) = [one for one in given if one[1].startswith("^/gcp/app")]
    assert (pages[0], pages[2]) == ("get", "gcp-admin|gcp-status")
    for path in ("/gcp/app", *(f"/gcp/app/{name}" for name in FILES)):
        assert re.search(pages[1], path)
    given.remove(pages)
    for method, pattern, names in given:
        of = {one for one in served if one[0] == method.upper()}
        (route,) = {one for one in of if re.search(pattern, one[1].replace("{name}", "my google"))}
        assert route not in allowed
        allowed[route] = set(names.split("|"))
    assert allowed.keys() == served
    for_all = {route for route, names in allowed.items() if "gcp-status" in names}
    of_studies = ("studies", "instances", "receipt", "retrievals", "losses")
    assert not {route for route in for_all if route[1].endswith(of_studies)}
    assert {method for method, _ in for_all} == {"GET"}
    assert all("gcp-admin" in names for names in allowed.values())


SECRET_ARGUMENT = re.compile(
    r"://[^\s/@]+:[^\s/@]+@|(?:^|\s)(?:-u|--user|--proxy-user)[ =]?\S+:\S"
    r"|--?pass(?:word|wd)?[ =]\S"
)
"""A password in an argument: every user of the machine reads it in the list of processes."""


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_no_command_has_a_password_among_its_arguments(document):
    """A password stands before a command, in a variable of its environment, or in a file."""
    commands = [
        command
        for block in re.findall(r"```sh\n(.*?)```", document.read_text(), re.DOTALL)
        for command in re.split(r"(?<!\\)\n|;|&&|\|", block)
    ]
    commands += re.findall(
        r"`((?:sudo )?(?:orthanc-gcp|curl|psql|gcloud) [^`]+)`", document.read_text()
    )
    for command in commands:
        arguments = re.sub(r"^\s*(?:[A-Z_]+=\S+\s+)*", "", command)
        assert not SECRET_ARGUMENT.search(arguments), arguments


def test_no_option_takes_a_password():
    for name, command in app.commands.items():
        for parameter in command.params:
            said = f"{' '.join(parameter.opts)} {getattr(parameter, 'help', '') or ''}"
            assert "://user:" not in said, f"{name} {said}"
            named = re.search("pass|secret|token(?!-lifetime)|-key", " ".join(parameter.opts))
            assert named is None or getattr(parameter, "is_flag", False), f"{name} {said}"
