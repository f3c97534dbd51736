"""Who an account is, and what people want to know of it."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from orthanc_gcp.auth.credentials import documents
from orthanc_gcp.auth.credentials.identity import Identity
from orthanc_gcp.transport.authorization import Authorization
from tests.support.keys import write

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def of_file(folder, kind="service account"):
    path = folder / "key.json"
    write(path, {})
    os.utime(path, (0, (NOW - timedelta(days=9)).timestamp()))
    return Identity(kind, SimpleNamespace(), document=documents.read(path, "CredentialsFile"))


@pytest.mark.parametrize(
    ("credentials", "email"),
    [
        ({"service_account_email": "sa@p", "account": "me@b"}, "sa@p"),
        ({"service_account_email": "default", "account": "me@b"}, "me@b"),
        ({"service_account_email": None}, None),
        ({"account": "a@b\r\nc"}, "a@b c"),
        ({}, None),
    ],
)
def test_its_email(credentials, email):
    assert Identity("user", SimpleNamespace(**credentials)).email == email


def test_the_age_of_a_key(tmp_path):
    assert of_file(tmp_path).key_age(NOW) == pytest.approx(9)
    assert of_file(tmp_path).key_age(NOW - timedelta(days=30)) == 0
    assert of_file(tmp_path, "user").key_age(NOW) is None
    assert Identity("service account", SimpleNamespace()).key_age(NOW) is None
    inline = documents.inline({}, "ServiceAccountJson")
    assert Identity("service account", SimpleNamespace(), document=inline).key_age(NOW) is None


def test_a_file_that_was_replaced(tmp_path):
    identity = of_file(tmp_path)
    assert not identity.changed()
    write(tmp_path / "key.json", {"new": 1})
    assert identity.changed()
    assert not Identity("metadata server", SimpleNamespace()).changed()


def test_what_its_requests_carry():
    billed = Identity("user", SimpleNamespace(), quota_project="p")
    assert billed.authorization("ya29.x") == Authorization("ya29.x", "p")
