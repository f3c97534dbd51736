"""The wall clock is set back and forward while Orthanc runs (libfaketime)."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.keys import STORE, user_account
from tests.support.orthanc import wait_until
from tests.support.token_server import token

LIBRARY = next(Path("/usr/lib").rglob("libfaketime.so.1"), None)
SPRING, AUTUMN = "2026-03-29 01:59:55", "2026-10-25 02:59:55"


def faketime(file: Path, **more: str) -> dict[str, str]:
    """Only the wall clock is faked: setting a real one leaves the others alone, too."""
    return {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
        # It is for older libraries of C: with Debian 12's, every wait ended at once.
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        **more,
    }


def shift(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(f"{text}\n")
    new.replace(file)


def accounts(url: str):
    return {"GoogleCloudPlatform": {"Accounts": {"my-google": user_account(url)}}}


def test_the_clock_jumps(orthanc, token_server, tmp_path):
    """Tokens of six seconds go on being renewed at their pace, whatever the clock says."""
    token_server.answer = token(lifetime=6)
    file = tmp_path / "clock"
    shift(file, "+0")
    instance = orthanc(accounts(token_server.url), environment=faketime(file))
    instance.wait_for_servers("my-google")
    for jump in ("+1h", "+0", "-1h", "+0"):
        shift(file, jump)
        before = len(token_server.requests)
        time.sleep(7)
        asked = len(token_server.requests) - before
        assert 2 <= asked <= 5, f"{asked} requests in 7 s after {jump}"
    moments = [moment for moment, _, _ in token_server.requests]
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert max(gaps) < 5


@pytest.mark.parametrize("moment", [SPRING, AUTUMN])
def test_daylight_saving_begins_and_ends(orthanc, token_server, tmp_path, moment):
    token_server.answer = token(lifetime=6)
    file = tmp_path / "clock"
    shift(file, f"@{moment}")
    environment = faketime(file, TZ="Europe/Brussels")
    instance = orthanc(accounts(token_server.url), environment=environment)
    instance.wait_for_servers("my-google")
    time.sleep(12)
    moments = [moment for moment, _, _ in token_server.requests]
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert len(moments) >= 4
    assert max(gaps) < 5


def test_a_wrong_clock_is_named_and_recovers(orthanc, emulator, tmp_path):
    """Google refuses an assertion from the future; the log says that the clock is why."""
    file = tmp_path / "clock"
    shift(file, "+1h")
    account = {
        **STORE,
        "ServiceAccountFile": str(emulator.credentials / "service-account.json"),
    }
    section = {"BaseUrl": f"{emulator.url}/v1/", "Accounts": {"my-google": account}}
    configuration = {"HttpsVerifyPeers": False, "GoogleCloudPlatform": section}
    instance = orthanc(configuration, environment=faketime(file))
    instance.wait_for_log("s ahead of the server's: correct it, for instance with NTP")
    assert "answered 400 invalid_grant: Invalid JWT" in instance.log
    shift(file, "+0")
    wait_until(lambda: "my-google" in instance.json("GET", "/dicom-web/servers"), 20)
