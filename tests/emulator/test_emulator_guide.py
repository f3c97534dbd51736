"""The guide keeps up with the command and with what it promises."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest

from orthanc_gcp.emulator import pytest_plugin
from orthanc_gcp.emulator.auth.certificates import GOOGLE_HOSTS
from orthanc_gcp.emulator.command import emulator
from orthanc_gcp.emulator.faults.fault_settings import SETTINGS, FaultSettings
from orthanc_gcp.emulator.faults.network_profiles import GOOGLE, PACE
from orthanc_gcp.emulator.faults.permissions import ROLES
from orthanc_gcp.emulator.faults.rules import MEMBERS
from orthanc_gcp.emulator.server import DEFAULT_STORE, Options
from tests.emulator.guide import GUIDE, blocks, pytest_in, surroundings
from tests.emulator.processes import running
from tests.support.listing import assert_same

PAGE = {"page": "docs/emulator.md"}


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_what_the_guide_does_in_ten_minutes(tmp_path: Path) -> None:
    starting = next(block for block in blocks("") if "pip install" in block)
    assert starting.endswith("\northanc-gcp emulator --write-credentials credentials --admin\n")
    with running(tmp_path / "credentials", "--admin") as process:
        with socket.create_server(("127.0.0.1", 0)) as free:
            ports = {"8085": process.url.rpartition(":")[2], "8086": str(free.getsockname()[1])}

        def run(*command: str, code: str) -> str:
            for documented, actual in ports.items():
                code = code.replace(f"127.0.0.1:{documented}", f"127.0.0.1:{actual}")
                code = code.replace(f"--port {documented}", f"--port {actual}")
            done = subprocess.run(
                [*command, code],
                cwd=tmp_path,
                env=surroundings(tmp_path),
                capture_output=True,
                text=True,
                timeout=100,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        curl, integration, resetting, failing = blocks("sh")
        answers = run("bash", "-euc", code=curl)
        assert '"00100020"' in answers
        python = next(code for code in blocks("python") if "AuthorizedSession" in code)
        assert run(sys.executable, "-c", code=python) == (
            "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322\n"
        )
        run("bash", "-euc", code=integration)
        assert (tmp_path / "ci-credentials" / "service-account.json").exists()
        assert json.loads(run("bash", "-euc", code=resetting)) == {}
        assert json.loads(run("bash", "-euc", code=failing))["tokenEndpoint"] == {"status": 503}


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_names_of_google_with_curl(tmp_path: Path) -> None:
    (code,) = blocks("bash")
    with socket.create_server(("127.0.0.1", 0)) as free:
        code = code.replace("8443", str(free.getsockname()[1]))
    done = subprocess.run(
        ["bash", "-euc", code],
        cwd=tmp_path,
        env=surroundings(tmp_path),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f'"name": "{DEFAULT_STORE.parent}"' in done.stdout
    assert '"error": "unsupported_grant_type"' in done.stdout
    documented = rows("Google's own names")
    names = [name.strip("` ") for cell in documented for name in cell.split(",")]
    assert sorted(names) == sorted(GOOGLE_HOSTS)
    hosts = [line.split()[2:-5] for line in GUIDE.read_text().splitlines() if "/etc/hosts" in line]
    assert sorted(chain.from_iterable(hosts)) == sorted(GOOGLE_HOSTS)


def test_the_example_without_a_process(tmp_path: Path) -> None:
    (code,) = (code for code in blocks("python") if "with Emulator(" in code)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=surroundings(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.fullmatch(r"(http://127\.0\.0\.1:\d+) \1/token\n", done.stdout)


def test_the_example_for_pytest(tmp_path: Path) -> None:
    conftest, tests = (code for code in blocks("python") if code.startswith("# "))
    assert conftest.startswith("# conftest.py\n")
    report = pytest_in(tmp_path, conftest=conftest, test_store=tests)
    assert re.search(r"=+ 2 passed in", report), report


def test_every_fixture_is_documented() -> None:
    table = rows("Fixtures for pytest")
    assert {*table, "DicomStore"} == set(pytest_plugin.__all__)
    described = table["dicom_store"][1]
    for name in vars(pytest_plugin.DicomStore).keys() | pytest_plugin.DicomStore.__annotations__:
        if not name.startswith("_"):
            assert f"`{name}" in described, name


def test_every_option_is_documented() -> None:
    guide = GUIDE.read_text()
    options = {name for parameter in emulator.params for name in parameter.opts}
    documented = {line.split("`")[1] for line in guide.splitlines() if line.startswith("| `--")}
    assert_same(
        documented, options, place="a table of options", source="emulator/command.py", **PAGE
    )


def test_the_defaults_are_those_of_the_class() -> None:
    guide = GUIDE.read_text()
    assert f"`{DEFAULT_STORE}`" in guide
    assert f"`{Options(Path()).token_lifetime}`" in guide


def rows(after: str) -> dict[str, list[str]]:
    """Return the cells of the table that follows a heading, by the first of each row."""
    section = GUIDE.read_text().partition(f"\n## {after}\n")[2].partition("\n## ")[0]
    lines = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    return {cells[0].strip("| `"): cells[1:] for cells in lines}


def test_every_fault_setting_is_documented_with_its_first_value() -> None:
    values = {name: cells[0].strip("`") for name, cells in rows("Failures on demand").items()}
    expected = {name: json.dumps(value) for name, value in FaultSettings().as_json().items()}
    place = 'the table below "## Failures on demand"'
    assert_same(values, expected, place=place, source="emulator/faults/fault_settings.py", **PAGE)
    for name, value in expected.items():
        assert values[name] == value, f"docs/emulator.md: `{name}` begins as `{value}`"


def test_the_guide_explains_every_fault_setting_with_the_sentence_of_the_page() -> None:
    explained = rows("Failures on demand")
    for name, setting in SETTINGS.items():
        assert setting.sentence.endswith(".")
        assert explained[name][1].startswith(setting.sentence), (
            f'let the row of `{name}` in docs/emulator.md begin with "{setting.sentence}"'
        )
        assert (
            setting.unit in ("", "JSON", "one on each line") or setting.unit in explained[name][1]
        )


def test_every_member_of_a_rule_is_documented() -> None:
    place = 'the table below "## Fault rules"'
    assert_same(
        rows("Fault rules"), MEMBERS, place=place, source="emulator/faults/rules.py", **PAGE
    )


def test_the_rules_of_the_guide_can_be_set() -> None:
    section = GUIDE.read_text().partition("\n## Fault rules\n")[2].partition("\n## ")[0]
    examples = re.findall(r"```json\n(.*?)```", section, re.DOTALL)
    assert examples
    for example in examples:
        FaultSettings().change(**json.loads(example))


def test_the_profiles_of_the_guide_are_those_that_there_are() -> None:
    section = GUIDE.read_text().partition("\n## Network profiles\n")[2].partition("\n## ")[0]
    (example,) = re.findall(r"```json\n(.*?)```", section, re.DOTALL)
    FaultSettings({"network": json.loads(example)})
    table = {name: cells[0] for name, cells in rows("Network profiles").items()}
    assert set(table) == set(PACE)
    for name, words in table.items():
        value = GOOGLE.get(name, PACE[name])
        number = value["requestsPerMinute"] if isinstance(value, dict) else value
        assert words.replace(",", "").startswith(str(number))


def test_every_credential_file_is_documented(shared_client: object, shared_folder: Path) -> None:
    section = GUIDE.read_text().partition("\n## Identities\n")[2].partition("\n## ")[0]
    written = {p.name for p in shared_folder.iterdir() if p.suffix in (".json", ".pem", ".jwt")}
    for name in written - {"identities.json"}:
        assert f"`{name}`" in section, f'add `{name}` to docs/emulator.md, below "## Identities"'


def test_every_role_is_documented() -> None:
    guide = GUIDE.read_text()
    missing = [role for role in ROLES if f"`{role}`" not in guide]
    assert not missing, f"add `{missing[0]}` to docs/emulator.md"
