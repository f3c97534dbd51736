"""What is known of an account, and what of it is shown."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from orthanc_gcp.auth.account_state import AccountState, Attempt, Figures, TokenState
from orthanc_gcp.auth.credentials.identity import Identity
from orthanc_gcp.auth.token import Token
from orthanc_gcp.configuration import Account
from orthanc_gcp.errors import TokenError
from orthanc_gcp.reasons import TokenReason
from tests.support.simulation import FakeClock

IDENTITY = Identity(
    "user", SimpleNamespace(account="me@b"), ("https://a",), quota_project="project-1"
)
TOKEN = Token("ya29.secret", expires_at=1100.0, lifetime=200.0)


@pytest.fixture
def clock():
    return FakeClock()  # at 1000.0


def state(**fields):
    account = Account("a", project="p", location="l", dataset="d", dicom_store="s")
    return AccountState(account, **fields)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, TokenState.PENDING),
        ({"token": TOKEN, "next_at": 1050.0}, TokenState.FRESH),
        ({"token": TOKEN, "next_at": 1000.0}, TokenState.STALE),
        ({"token": TOKEN}, TokenState.STALE),
        ({"token": Token("x", 1000.0, 5.0)}, TokenState.PENDING),
        ({"token": TOKEN, "next_at": 1050.0, "failed_in_a_row": 1}, TokenState.FAILING),
    ],
)
def test_the_state_of_a_token(fields, expected):
    assert state(**fields).token_state(1000.0) is expected


@pytest.mark.parametrize(
    ("token", "identity", "same"),
    [
        (TOKEN, IDENTITY, True),
        (Token("ya29.secret", 9999.0, 1.0), IDENTITY, True),
        (Token("ya29.other", 1100.0, 200.0), IDENTITY, False),
        (TOKEN, Identity("user", SimpleNamespace()), False),
    ],
)
def test_what_is_nothing_new_to_a_store(token, identity, same):
    assert state(identity=IDENTITY, token=TOKEN).has(identity, token) is same
    assert not state().has(identity, token)


def test_what_the_old_token_is_still_good_for():
    assert state().remainder(1000.0) == "there is no token yet"
    kept = state(token=TOKEN)
    assert kept.remainder(1000.0) == "the old one is good for another 100 s"
    assert kept.remainder(1130.0) == "the old one expired 30 s ago and Google refuses it"


def test_its_figures():
    kept = state(token=TOKEN, refreshes=3, failures=2)
    assert kept.figures(1000.0) == Figures(100.0, 3, 2)
    assert kept.figures(2000.0) == Figures(0.0, 3, 2)
    assert state().figures(1000.0) == Figures()


def test_the_status_of_an_account_that_was_not_tried_yet(clock):
    assert state().status(clock).as_json() == {
        "State": "pending",
        "Identity": None,
        "Kind": None,
        "Scopes": [],
        "KeyAgeDays": None,
        "Expires": None,
        "SecondsToExpiry": None,
        "LastSuccess": None,
        "LastError": None,
        "RotationError": None,
        "NextTry": None,
        "Refreshes": 0,
        "Failures": 0,
    }


def test_the_status_of_an_account_that_fails(clock):
    kept = state(
        identity=IDENTITY,
        token=TOKEN,
        next_at=1001.5,
        failed_in_a_row=1,
        error=TokenError("x answered 503", reason=TokenReason.INVALID_GRANT, status=503),
        error_at=clock.utc(),
        rotation_error="the new file is empty",
    )
    status = kept.status(clock)
    assert (status.identity, status.kind, status.state) == ("me@b", "user", TokenState.FAILING)
    shown = json.loads(json.dumps(status.as_json()))
    assert shown["LastError"] == {
        "Reason": "invalid_grant",
        "Message": "x answered 503",
        "Status": 503,
        "Time": "2026-01-01T00:16:40.000+00:00",
    }
    assert shown["NextTry"] == "2026-01-01T00:16:41.500+00:00"
    assert (shown["Expires"], shown["SecondsToExpiry"]) == ("2026-01-01T00:18:20.000+00:00", 100.0)
    assert "secret" not in json.dumps(shown)
    assert "secret" not in repr(kept)


def test_while_a_try_runs_the_next_is_not_known(clock):
    assert state(next_at=1001.0, running=Attempt(1000.0)).status(clock).next_try is None
