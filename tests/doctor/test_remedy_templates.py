"""What remedies are made of: selected by a message, with the names of the account filled in."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orthanc_gcp.doctor.remedy_templates import LOGIN, NEW_KEY, WAIT, fill_in, grant, select
from orthanc_gcp.users import user_name

EMAIL = "orthanc@osimis-test.iam.gserviceaccount.com"
CHOICES = {
    "deleted": "make another one",
    "late": lambda message, about: f"{message} for {about.account.name}",
    "": "any",
}


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ("it was deleted", "make another one"),
        ("deleted too late", "make another one"),
        ("too late", "too late for a"),
        ("else", "any"),
        ("", "any"),
    ],
)
def test_the_first_that_the_message_has(examination, message, remedy):
    assert select(CHOICES, message, examination()) == remedy


def test_nothing_fits(examination):
    assert select({"deleted": "x"}, "late", examination()) == WAIT


def test_the_names_of_the_account(examination):
    text = fill_in("{email} {source} {target} {user} {quota} {other}", examination())
    assert text == f"{EMAIL} serviceAccount:{EMAIL} {EMAIL} {user_name()} PROJECT {{other}}"
    target = "target@b.iam.gserviceaccount.com"
    found = examination(ImpersonateServiceAccount=target, QuotaProject="billed")
    assert fill_in("{email} {target} {quota}", found) == f"{EMAIL} {target} billed"


def test_how_the_credential_is_made_again(examination):
    found = examination()
    assert fill_in("{again}", found) == f"make a new key: {NEW_KEY}".replace("{email}", EMAIL)
    found.identity = None
    assert "ACCOUNT@osimis-test.iam.gserviceaccount.com" in fill_in("{again}", found)


def test_the_account_of_a_key_is_never_that_of_a_user(examination):
    found = examination()
    found.identity.credentials._service_account_email = "user@osimis-test.example"
    assert found.own_email == "user@osimis-test.example"
    text = fill_in("{email} {source}", found)
    assert text == "ACCOUNT@osimis-test.iam.gserviceaccount.com user:user@osimis-test.example"


def test_a_user_logs_in_again(examination):
    found = examination()
    found.identity = None
    found.account = replace(found.account, service_account_file=None, authorized_user_file="u.json")
    assert fill_in("{again}", found) == LOGIN


def test_the_commands_that_give_roles(examination):
    commands = grant(examination(), "roles/a", "roles/b").split("; ")
    assert [command.rpartition("=")[2] for command in commands] == ["roles/a", "roles/b"]
    assert commands[0] == (
        "gcloud healthcare dicom-stores add-iam-policy-binding dicom --dataset=test "
        f"--location=europe-west2 --project=osimis-test --member=serviceAccount:{EMAIL} "
        "--role=roles/a"
    )
