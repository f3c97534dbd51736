"""``orthanc-gcp check``, run on a case."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner

from orthanc_gcp.cli import app
from tests.support.account_faults import Case
from tests.support.keys import write


def check(case: Case, *arguments: str) -> tuple[int, dict[str, Any]]:
    """What the command says; in this process, for there are many faults."""
    section = {**case.section, "Accounts": {"my-google": case.account}}
    file = case.folder / "orthanc.json"
    write(file, {**case.whole, "GoogleCloudPlatform": section})
    case.monkeypatch.setenv("HOME", str(case.folder))
    with case.acting():
        done = CliRunner().invoke(app, ["check", "--json", *arguments, str(file)])
    assert done.stderr == ""
    return done.exit_code, json.loads(done.stdout)
