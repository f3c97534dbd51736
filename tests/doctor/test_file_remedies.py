"""The remedy of a credential file: a command that can be run as it is."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

import pytest

from orthanc_gcp.doctor.file_remedies import close_to_others, of_file
from orthanc_gcp.errors import CredentialError
from orthanc_gcp.reasons import CredentialReason
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


# -- Each reason ----------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", list(CredentialReason))
def test_every_reason_has_a_remedy(reason):
    assert of_file(CredentialError("x", reason=reason))


@pytest.mark.parametrize(
    ("reason", "option", "path", "expected"),
    [
        (
            CredentialReason.MISSING_FILE,
            "GOOGLE_APPLICATION_CREDENTIALS",
            "/k",
            "systemctl edit",
        ),
        (CredentialReason.MISSING_FILE, "ServiceAccountFile", "/etc/~/k", "write the whole path"),
        (CredentialReason.MISSING_FILE, "ServiceAccountFile", "k.json", "correct the option's"),
        (
            CredentialReason.FORBIDDEN_FILE,
            "CredentialsFile",
            "/a b/k.json",
            "chown {user} '/a b/k.json' && chmod 600 '/a b/k.json'",
        ),
        (CredentialReason.FORBIDDEN_FOLDER, "CredentialsFile", "/a b", "u:{user}:x '/a b'"),
        (
            CredentialReason.ESCAPED_KEY,
            "ServiceAccountFile",
            "/a b/k.json",
            "'/a b/k.json'; or {again}",
        ),
        (CredentialReason.ESCAPED_KEY, "ServiceAccountJson", None, "write \\n for each line"),
        (CredentialReason.ONLY_ACCESS_TOKEN, "AuthorizedUserFile", "/k", "the file that it writes"),
        (CredentialReason.ONLY_ACCESS_TOKEN, "CredentialsFile", "/k", "iam service-accounts keys"),
    ],
)
def test_the_remedy_is_that_of_the_option_and_the_file(reason, option, path, expected):
    file = None if path is None else Path(path)
    error = CredentialError("x", reason=reason, option=option, path=file)
    assert expected in of_file(error)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_a_file_that_everybody_may_read_is_left_to_its_user(tmp_path):
    file = tmp_path / "my key.json"
    file.write_text("{}")
    file.chmod(0o644)
    given = f"chown orthanc '{file}' && chmod o-rwx '{file}'"
    assert close_to_others(file) == given, "it is root's"
    user = pwd.getpwnam("orthanc")
    os.chown(file, user.pw_uid, 0)
    assert close_to_others(file) == f"chmod o-rwx '{file}'"
    os.chown(file, 0, user.pw_gid)
    assert close_to_others(file) == f"chmod o-rwx '{file}'"
    file.chmod(0o604)
    assert close_to_others(file) == given, "its group may not"
