"""Credential files are changed while Orthanc asks the store five times a second."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests.integration.test_endurance import Asking
from tests.support.emulator import Emulator
from tests.support.keys import STORE
from tests.support.orthanc import wait_until

SERVICE_ACCOUNT = "orthanc@osimis-test.iam.gserviceaccount.com"
USER = "user@osimis-test.example"


@pytest.fixture(scope="module")
def google(tmp_path_factory):
    emulator = Emulator(tmp_path_factory.mktemp("google"), "--admin", "--token-lifetime", "10")
    yield emulator
    emulator.stop()


@pytest.fixture
def rotating(orthanc, google, tmp_path):
    """Orthanc under a service account's key, and the file that will be changed."""
    file = tmp_path / "credentials.json"
    file.write_text((google.credentials / "service-account.json").read_text())
    account = {**STORE, "CredentialsFile": str(file), "TokenUri": google.token_uri}
    section = {
        "BaseUrl": f"{google.url}/v1",
        "RefreshInterval": 1,
        "Accounts": {"my-google": account},
    }
    instance = orthanc({"GoogleCloudPlatform": section})
    instance.wait_for_servers("my-google")
    google.switch(revokedRefreshTokens=[])
    yield instance, file
    google.switch(revokedRefreshTokens=[])


def identity(instance) -> str:
    return instance.json("GET", "/gcp/accounts/my-google")["Identity"]


def replace(file: Path, content: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(content)
    new.replace(file)


def truncate_then_write(file: Path, content: str) -> None:
    with file.open("w") as opened:
        opened.write(content[:50])
        opened.flush()
        time.sleep(1.5)
        opened.write(content[50:])


@pytest.mark.parametrize("write", [replace, truncate_then_write])
def test_a_file_that_works_takes_over(rotating, google, write):
    instance, file = rotating
    with Asking(instance) as asking:
        write(file, (google.credentials / "authorized-user.json").read_text())
        wait_until(lambda: identity(instance) == USER, 15)
        assert instance.json("GET", "/gcp/accounts/my-google")["RotationError"] is None
        write(file, (google.credentials / "service-account.json").read_text())
        wait_until(lambda: identity(instance) == SERVICE_ACCOUNT, 15)
        time.sleep(3)
    assert asking.failed == []
    assert "the changed credential file works and is in use" in instance.log


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("garbage", "the file is not JSON"),
        ("", "the file is not JSON"),
        ("revoked", "Token has been expired or revoked."),
    ],
)
def test_a_file_that_does_not_work_changes_nothing(rotating, google, content, message):
    """The old identity stays, its tokens go on being renewed, and all is told."""
    instance, file = rotating
    if content == "revoked":
        google.switch(revokedRefreshTokens=[google.user["refresh_token"]])
        content = (google.credentials / "authorized-user.json").read_text()
    with Asking(instance) as asking:
        replace(file, content)
        instance.wait_for_log("the changed credential file does not work")
        time.sleep(8)  # a token lives ten seconds, and is renewed after five
        told = instance.json("GET", "/gcp/accounts/my-google")
        assert told["Identity"] == SERVICE_ACCOUNT
        assert told["State"] in ("fresh", "stale")
        assert message in told["RotationError"]
        replace(file, (google.credentials / "service-account.json").read_text())
        wait_until(
            lambda: instance.json("GET", "/gcp/accounts/my-google")["RotationError"] is None, 10
        )
    assert asking.failed == []
    assert "the old identity stays in use" in instance.log


def test_a_file_that_vanishes_changes_nothing(rotating):
    instance, file = rotating
    with Asking(instance) as asking:
        file.unlink()
        time.sleep(8)
    assert asking.failed == []
    assert identity(instance) == SERVICE_ACCOUNT


def test_an_old_key_is_a_warning(orthanc, google, tmp_path):
    file = tmp_path / "key.json"
    file.write_text((google.credentials / "service-account.json").read_text())
    days = 100 * 86400
    os.utime(file, (time.time() - days, time.time() - days))
    accounts = {
        "old": {**STORE, "ServiceAccountFile": str(file)},
        "tolerated": {**STORE, "ServiceAccountFile": str(file), "KeyMaxAgeDays": 365},
    }
    section = {"BaseUrl": f"{google.url}/v1/", "Accounts": accounts}
    instance = orthanc({"GoogleCloudPlatform": section})
    instance.wait_for_servers("old", "tolerated")
    instance.wait_for_log("account old: its key file is 100 days old, more than KeyMaxAgeDays (90)")
    assert "account tolerated: its key file" not in instance.log
    assert instance.json("GET", "/gcp/accounts/old")["KeyAgeDays"] == pytest.approx(100, abs=0.1)
    assert json.loads(file.read_text())["private_key"][100:140] not in instance.log
