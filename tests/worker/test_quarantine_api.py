"""What a dismissal has to say before anything is dismissed."""

from __future__ import annotations

import pytest
from starlette.exceptions import HTTPException

from orthanc_gcp.ledger.schema import State
from orthanc_gcp.ledger.selection import Selection
from orthanc_gcp.worker.quarantine_api import QuarantineApi
from tests.support.transfers import arrive, events_of, settle

WHO = {"Why": "a phantom", "By": "jane"}


@pytest.fixture
def api(ledger):
    arrive(ledger, 2)
    settle(ledger, State.QUARANTINED, reason="invalid")
    return QuarantineApi(ledger, lambda: None)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, 'expected Study, Instance or Reason, or {"All": true}'),
        (WHO, 'expected Study, Instance or Reason, or {"All": true}'),
        ({**WHO, "All": False}, 'or {"All": true}'),
        ({**WHO, "All": 1}, 'or {"All": true}'),
        ({**WHO, "All": "true"}, 'or {"All": true}'),
        ({**WHO, "All": True, "Reason": "invalid"}, 'or {"All": true}'),
        ({**WHO, "Studies": ["1"]}, "Studies: expected Study, Instance, Reason, All, Why, By"),
        ({**WHO, "Study": 1}, "Study: expected words"),
        ({**WHO, "Study": None}, "Study: expected words"),
        ({**WHO, "Study": ""}, "Study: expected words"),
        ({**WHO, "Study": "1\0"}, "Study: expected text of one line"),
        ({**WHO, "Reason": "\ud800"}, "Reason: expected text of one line"),
        ({"By": "jane", "All": True}, "Why: expected words"),
        ({"By": "jane", "All": True, "Why": ["x"]}, "Why: expected words"),
        ({"By": "jane", "All": True, "Why": "x" * 1001}, "Why: expected 1000 characters at most"),
        ({"Why": "x", "All": True}, "By: expected words"),
        ({"Why": "x", "All": True, "By": "a\nb"}, "By: expected text of one line"),
        ({"Why": "x", "All": True, "User": 5}, "User: expected words"),
        ({"Why": "x", "All": True, "User": "x" * 151}, "User: expected 150 characters at most"),
    ],
)
def test_what_is_refused_dismisses_nothing(api, ledger, body, words):
    with pytest.raises(HTTPException) as refused:
        api.dismiss("a", body)
    assert refused.value.status_code == 400
    assert words in refused.value.detail
    assert events_of(ledger, "dismissed") == []


def test_another_account_is_left_alone(api):
    assert api.dismiss("b", {**WHO, "All": True})["Instances"] == 0
    assert api.groups("a", Selection(account="a"))["Groups"][0]["Instances"] == 2
    assert api.dismiss("a", {**WHO, "By": "x" * 150, "All": True})["Instances"] == 2


def test_who_is_logged_in_counts_and_not_who_is_typed(api):
    done = api.dismiss("a", {**WHO, "All": True, "User": "alice"})
    assert done == {"Account": "a", "Instances": 2, "By": "alice (logged in to Orthanc)"}
