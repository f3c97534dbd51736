"""The guide keeps up with the command and with what it promises."""

from __future__ import annotations

from pathlib import Path

import typer.main

from orthanc_gcp.emulator.command import emulator
from orthanc_gcp.emulator.server import DEFAULT_STORE, Options

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
