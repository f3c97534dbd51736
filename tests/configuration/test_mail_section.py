"""The section ``Mail``: with a mistake in it, nothing is sent by it."""

from __future__ import annotations

import pytest

from orthanc_gcp.configuration import read
from tests.support.configurations import SERVICE

MAIL = {"Server": "mail.example.org", "From": "orthanc@example.org", "To": ["pacs@example.org"]}


def settings(mail, **orthanc):
    return read({"GoogleCloudPlatform": {"Accounts": {"a": SERVICE}, "Mail": mail}, **orthanc})


def test_it_is_read():
    found = settings({**MAIL, "User": "u", "PasswordFile": "/etc/p", "Port": 465})
    assert found.problems == ()
    assert (found.mail.server, found.mail.port) == ("mail.example.org", 465)
    assert (found.mail.sender, found.mail.to) == ("orthanc@example.org", ("pacs@example.org",))
    assert found.mail.encryption == "StartTls"


def test_without_it_nobody_is_written_to():
    assert settings(None).mail is None


@pytest.mark.parametrize("server", ["localhost", "127.0.0.1", "::1"])
def test_without_encryption_only_to_this_machine(server):
    assert settings({**MAIL, "Server": server, "Encryption": "None"}).mail is not None


@pytest.mark.parametrize(
    "mail",
    [
        {},
        [],
        "mail.example.org",
        {**MAIL, "Encryption": "None"},
        {**MAIL, "Server": "127.0.0.1.example.org", "Encryption": "None"},
        {**MAIL, "User": "u"},
        {**MAIL, "PasswordFile": "/etc/p"},
        {**MAIL, "Password": "pw-1"},
        {**MAIL, "To": "pacs@example.org"},
        {**MAIL, "To": ["a@b.c\nBcc: d@e.f"]},
        {**MAIL, "Pasword": "pw-1"},
    ],
    ids=str,
)
def test_a_mistake(mail):
    found = settings(mail)
    assert found.mail is None
    assert found.problems
    for problem in found.problems:
        assert problem.error
        assert str(problem).endswith("; nobody is told of alarms by e-mail")
        assert "pw-1" not in str(problem)
    assert [one.name for one in found.accounts] == ["a"], "all else goes on"


def test_with_other_authorities_than_were_meant_nothing_is_sent():
    assert settings(MAIL, HttpsCACertificates=5).mail is None
