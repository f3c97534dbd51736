"""The command line from outside: each command with plausible arguments, and what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from click.testing import CliRunner, Result

from orthanc_gcp.cli import app
from tests.support.keys import STORE
from tests.support.orthanc import free_port
from tests.support.schemas import WHOLE, conforms

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "install": ("--orthanc-config", "CONFIG", "--user", "root"),
    "check": ("CONFIG",),
    "worker": ("CONFIG",),
    "status": ("CONFIG",),
    "top": ("CONFIG",),
    "receipt": ("CONFIG", "1.2.3"),
    "audit": ("CONFIG",),
    "query": ("CONFIG", "my-google"),
    "retrieve": ("CONFIG", "my-google", "1.2.3"),
    "send": ("CONFIG", "0-1", "--to", "my-google"),
    "backfill": ("CONFIG",),
    "quarantine": ("CONFIG",),
    "retry": ("CONFIG",),
    "pause": ("CONFIG", "my-google"),
    "resume": ("CONFIG", "my-google"),
    "indexes": ("CONFIG",),
    "losses": ("CONFIG",),
    "destinations": ("CONFIG",),
    "gateway": ("CONFIG",),
    "sidecar": ("CONFIG",),
    "plugin-script": (),
    "demo": (),
    "emulator": ("--port", "0"),
}
"""Every command, with plausible arguments."""
OF_THE_CONNECTOR = {"check", "install", "retrieve", "sidecar"}
"""Those that do with what every installation has."""
SERVICES = {"gateway", "sidecar", "worker"}
"""Those that set up a whole process for themselves."""
WITHOUT_LEDGER = {*OF_THE_CONNECTOR, "gateway", "query"}
"""Those that ask for none."""
WITH_CONFIG = sorted(name for name, arguments in COMMANDS.items() if "CONFIG" in arguments)


def command(
    *arguments: object, before: Sequence[str] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [*before, sys.executable, "-m", "orthanc_gcp", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": path, **environment},
    )


def invoke(*arguments: object, code: int = 0, **environment: str) -> Result:
    """What a command says that is run in this process, and ends with a code.

    Every document of JSON that it prints has to be as its schema says.
    """
    words = list(map(str, arguments))
    done = CliRunner().invoke(app, words, env=environment)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    if "--json" in words and code in WHOLE:
        conforms(words, done.stdout)
    return done


_MANY = """
import json, sys
from tests.support.terminal import run_here
print(json.dumps([run_here(*words) for words in json.loads(sys.argv[1])]))
"""


def run_here(*words: str) -> tuple[int, str]:
    """The exit code of a command that is run in this process, and what it says."""
    done = CliRunner().invoke(app, words)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def commands(
    asked: Sequence[Sequence[object]], before: Sequence[str] = ()
) -> list[tuple[int, str]]:
    """The exit codes of some commands, and what they say: one process runs them all."""
    words = json.dumps([list(map(str, one)) for one in asked])
    line = [*before, sys.executable, "-c", _MANY, words]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return [(code, said) for code, said in json.loads(done.stdout)]


def with_config(name: str, config: object, *more: str) -> list[object]:
    return [name, *(config if one == "CONFIG" else one for one in COMMANDS[name]), *more]


def one_line(done: subprocess.CompletedProcess[str], code: int = 2) -> str:
    """What a command has said that could not do what it is for."""
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    return only_line(said)


def refused(*arguments: object) -> str:
    """The one line of a command that cannot do what it is for; in this process, unless it stays.

    A process takes half a second to say the same.
    """
    if arguments[0] in SERVICES:
        return one_line(command(*arguments))
    return only_line(invoke(*arguments, code=2).output)


def only_line(said: str) -> str:
    assert "Traceback" not in said, said
    lines = said.strip().splitlines()
    assert len(lines) == 1, said
    return lines[0]


def write_config(file: Path, section=None, **more) -> None:
    accounts = {"my-google": {**STORE, "ServiceAccountFile": "none.json"}}
    section = {"Accounts": accounts, "Send": [{"To": "my-google"}]} if section is None else section
    port = {"HttpPort": free_port()}
    file.write_text(json.dumps({"GoogleCloudPlatform": section, **port, **more}))
