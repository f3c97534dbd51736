"""The guide keeps up with the command and with what it promises."""

from __future__ import annotations

import json
import re
from pathlib import Path

import typer.main

from orthanc_gcp.emulator.command import emulator
from orthanc_gcp.emulator.fault_rules import MEMBERS
from orthanc_gcp.emulator.roles import ROLES
from orthanc_gcp.emulator.server import DEFAULT_STORE, Options
from orthanc_gcp.emulator.switches import Switches

GUIDE = Path(__file__).parents[2] / "docs" / "emulator.md"


def test_every_option_is_documented() -> None:
    app = typer.Typer(add_completion=False)
    app.command()(emulator)
    guide = GUIDE.read_text()
    parameters = typer.main.get_command(app).params
    options = {name for parameter in parameters for name in parameter.opts} - {"--help"}
    documented = {line.split("`")[1] for line in guide.splitlines() if line.startswith("| `--")}
    assert documented == options


def test_the_defaults_are_those_of_the_class() -> None:
    guide = GUIDE.read_text()
    assert f"`{DEFAULT_STORE}`" in guide
    assert f"`{Options(Path()).token_lifetime}`" in guide


def rows(after: str) -> dict[str, list[str]]:
    """Return the cells of the table that follows a heading, by the first of each row."""
    section = GUIDE.read_text().partition(f"\n## {after}\n")[2].partition("\n## ")[0]
    lines = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    return {cells[0].strip("| `"): cells[1:] for cells in lines}


def test_every_switch_is_documented_with_its_first_position() -> None:
    positions = {name: cells[0].strip("`") for name, cells in rows("Failures on demand").items()}
    expected = {name: json.dumps(value) for name, value in Switches().as_json().items()}
    assert positions == expected


def test_every_member_of_a_rule_is_documented() -> None:
    assert set(rows("Rules of failing")) == set(MEMBERS)


def test_the_rules_of_the_guide_can_be_set() -> None:
    section = GUIDE.read_text().partition("\n## Rules of failing\n")[2].partition("\n## ")[0]
    examples = re.findall(r"```json\n(.*?)```", section, re.DOTALL)
    assert examples
    for example in examples:
        Switches().change(**json.loads(example))


def test_every_credential_file_is_documented(shared_client: object, shared_folder: Path) -> None:
    section = GUIDE.read_text().partition("\n## Identities\n")[2].partition("\n## ")[0]
    written = {p.name for p in shared_folder.iterdir() if p.suffix in (".json", ".pem", ".jwt")}
    for name in written - {"identities.json"}:
        assert f"`{name}`" in section


def test_every_role_is_documented() -> None:
    guide = GUIDE.read_text()
    assert [role for role in ROLES if f"`{role}`" not in guide] == []
