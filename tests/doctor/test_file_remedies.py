"""The remedy of a credential file: a command that can be run as it is."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.support.checking import check


@pytest.mark.parametrize("more", [r"\n", r"\\n", r"\r\n"])
def test_the_remedy_of_a_key_that_was_escaped_twice(case, more):
    """It is run, and repairs the file."""
    pem = case.key()["private_key"]
    case.credential("my key.json", case.key(private_key=pem.replace("\n", more)))
    _, report = check(case)
    remedy = report["Accounts"]["my-google"][1]["Remedy"]
    command = remedy.removeprefix("undo it: ").partition("; or ")[0]
    subprocess.run(command, shell=True, check=True)
    code, report = check(case)
    assert code == 0, report


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_the_user_that_may_not_read_is_named(case):
    file = case.key_for_nobody()
    file.chmod(0o600)
    _, report = check(case)
    line = report["Accounts"]["my-google"][1]
    assert line["Cause"].endswith(f"{file}: the file cannot be read: the user nobody may not")
    assert f"chown nobody {file} && chmod 600 {file}" in line["Remedy"]
    file.parent.chmod(0o700)
    _, report = check(case)
    line = report["Accounts"]["my-google"][1]
    assert line["Cause"].endswith(f"the user nobody may not enter the folder {file.parent}")
    assert f"setfacl -m u:nobody:x {file.parent};" in line["Remedy"]
