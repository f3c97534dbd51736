"""A secret in the wrong place: under a misspelt name, as another type, around JSON that is none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from orthanc_gcp.cli import app
from orthanc_gcp.configuration import read
from orthanc_gcp.configuration.files import read_files
from orthanc_gcp.configuration.option_types import option_names
from orthanc_gcp.configuration.options import (
    Account,
    BackfillOptions,
    DicomWeb,
    Globals,
    PythonPlugin,
    Section,
    SendRule,
)
from orthanc_gcp.errors import ConfigurationError
from tests.support.keys import STORE

SECRET = "GOCSPX-Zebra0042_secret-value"
VALUES: list[Any] = [
    SECRET,
    {"private_key": SECRET, SECRET[:6]: [SECRET]},
    [SECRET],
    [{"x": [SECRET, 1]}],
    f"https://me:{SECRET}@host/",
    f"me:{SECRET}@host:1/x y",
]
NAMES = ("ClientSecrett", "refresh-token", "Token", "ClientSecret", "password", "private_key")


def configured(place: str, options: dict[str, Any]) -> dict[str, Any]:
    """Orthanc's configuration with options somewhere in it, and an account that is right."""
    account = {**STORE, "ServiceAccountFile": "key.json"}
    section: dict[str, Any] = {"Accounts": {"a": account}, "Send": [{"To": "a"}]}
    whole: dict[str, Any] = {"GoogleCloudPlatform": section}
    if place == "account":
        account.update(options)
    elif place == "server":
        account["Server"] = options
    elif place == "rule":
        section["Send"] = [{"To": "a", **options}]
    elif place == "backfill":
        section["Backfill"] = options
    elif place == "section":
        section.update(options)
    elif place == "orthanc":
        whole.update(options)
    else:
        whole[place] = options
    return whole


PLACES = {
    "account": Account,
    "rule": SendRule,
    "backfill": BackfillOptions,
    "section": Section,
    "orthanc": Globals,
    "DicomWeb": DicomWeb,
    "Python": PythonPlugin,
}


def problems(whole: dict[str, Any]) -> str:
    return "\n".join(map(str, read(whole).problems))


@pytest.mark.parametrize("place", PLACES)
def test_no_wrong_value_of_an_option_is_shown(place: str) -> None:
    found = 0
    for name in option_names(PLACES[place]):
        for value in VALUES:
            said = problems(configured(place, {name: value}))
            assert SECRET not in said, (name, value)
            found += f"{name}: found" in said
    assert found, "nothing was wrong"


@pytest.mark.parametrize("place", [*PLACES, "server", "DicomWeb.Servers"])
@pytest.mark.parametrize("name", NAMES)
def test_what_stands_under_an_unknown_name_is_not_shown(place: str, name: str) -> None:
    for value in VALUES:
        said = problems(configured(place, {name: value}))
        assert SECRET not in said
        if place in ("account", "rule", "backfill", "section"):
            assert f"{name}: unknown option" in said
        if place == "DicomWeb.Servers":
            assert SECRET not in problems({"DicomWeb": {"Servers": {"a": {name: value}}}})


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
@pytest.mark.parametrize("whole", ["Accounts", "Send", "Backfill", "a", "GoogleCloudPlatform"])
def test_what_stands_in_the_place_of_a_section_is_not_shown(whole: str, value: Any) -> None:
    configuration = configured("account", {})
    section = configuration["GoogleCloudPlatform"]
    if whole == "a":
        section["Accounts"]["a"] = value
    elif whole == "GoogleCloudPlatform":
        configuration[whole] = value
    else:
        section[whole] = value
    assert SECRET not in problems(configuration)


@pytest.mark.parametrize(
    "text",
    [
        '{{"GoogleCloudPlatform": {{"Token": "{0}',
        '{{"GoogleCloudPlatform": {{"Token": "{0}"',
        '{{"Token": {0}}}',
        '{{"Token" "{0}"}}',
        '{{"{0}": "{0}",,}}',
        '{{"Token": "\\u{0}"}}',
        '{{"Token": 1{0}}}',
        '"{0}"',
        "{0}",
        '{{"Token": /* {0}',
        '{{"Token": "${{{0}:-}}"}}',
        '[{{"Token": "{0}"}}]',
    ],
)
def test_what_is_no_json_is_not_shown(tmp_path, text: str) -> None:
    file = tmp_path / "orthanc.json"
    file.write_text(text.format(SECRET))
    try:
        said = problems(read_files([file]))
    except ConfigurationError as error:
        said = str(error)
    assert SECRET not in said
    for command in ("check", "status", "worker"):
        done = CliRunner().invoke(app, [command, str(file)])
        assert SECRET not in done.output
        assert done.exit_code


def test_a_variable_of_the_environment_is_not_shown(tmp_path) -> None:
    file = tmp_path / "orthanc.json"
    file.write_text('{"GoogleCloudPlatform": {"Accounts": {"a": {"Project": ${SECRET}}}}}')
    for value in (SECRET, f'"{SECRET}', f'"{SECRET}/x"', json.dumps({"private_key": SECRET})):
        try:
            said = problems(read_files([file], {"SECRET": value}))
        except ConfigurationError as error:
            said = str(error)
        assert SECRET not in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["worker", "--listen"],
        ["worker", "--orthanc"],
        ["send", "--orthanc"],
        ["sidecar", "--orthanc"],
        ["status", "--tokn"],
        ["no-such-command"],
    ],
)
def test_an_address_with_a_password_is_not_repeated(tmp_path, arguments: list[str]) -> None:
    file = tmp_path / "orthanc.json"
    file.write_text(json.dumps(configured("account", {})))
    address = f"ftp://me:{SECRET}@host:1/"
    done = CliRunner().invoke(app, [*arguments, address, str(file)])
    assert SECRET not in done.output
    assert done.exit_code
