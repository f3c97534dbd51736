"""What a dismissal has to say before anything is dismissed."""

from __future__ import annotations

import pytest
from starlette.exceptions import HTTPException

from orthanc_gcp.custody.reporting.operations import retry
from orthanc_gcp.ledger.destinations import StoreName
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import State
from orthanc_gcp.ledger.selection import Selection
from orthanc_gcp.ledger.upgrade import prepare
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
        (
            {**WHO, "Studies": ["1"]},
            "Studies: expected Study, Instance, Reason, All, Destination, ",
        ),
        ({**WHO, "Study": 1}, "Study: expected words"),
        ({**WHO, "Study": None}, "Study: expected words"),
        ({**WHO, "Study": ""}, "Study: expected words"),
        ({**WHO, "Study": "1\0"}, "Study: expected text of one line"),
        ({**WHO, "Reason": "\ud800"}, "Reason: expected text of one line"),
        ({**WHO, "All": True, "Destination": "1"}, "Destination: expected a whole number"),
        ({**WHO, "All": True, "Destination": -1}, "Destination: expected a whole number"),
        ({**WHO, "All": True, "Destination": 1 << 63}, "Destination: expected a whole number"),
        ({**WHO, "All": True, "Destination": None}, "Destination: expected a whole number"),
        ({**WHO, "All": True, "AsOf": "1"}, "AsOf: expected a whole number"),
        ({**WHO, "All": True, "Instances": True}, "Instances: expected a whole number"),
        ({**WHO, "Destination": 1}, 'or {"All": true}'),
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


def test_more_than_was_seen_is_not_dismissed(api, ledger):
    """It came into quarantine after the person had looked."""
    with pytest.raises(HTTPException) as refused:
        api.dismiss("a", {**WHO, "Reason": "invalid", "Instances": 1})
    assert refused.value.status_code == 409
    assert refused.value.detail.startswith("2 instances are in quarantine by now, and 1 were shown")
    assert events_of(ledger, "dismissed") == []
    assert api.dismiss("a", {**WHO, "All": True, "Instances": 2})["Instances"] == 2


def test_what_came_after_it_was_shown_is_left_alone(api, ledger):
    """Though there are as many as were shown: one of those was sent again meanwhile."""
    shown = api.groups("a", Selection(account="a"))
    seen = {"AsOf": shown["AsOf"], "Instances": shown["Groups"][0]["Instances"]}
    retry(ledger, "a", instance="1.1.1.0")
    settle(ledger, State.ACKNOWLEDGED, sha256="d")
    arrive(ledger, 1, study="2")
    settle(ledger, State.QUARANTINED, reason="invalid")
    assert api.dismiss("a", {**WHO, "Reason": "invalid", **seen})["Instances"] == 1
    (left,) = api.groups("a", Selection(account="a"))["Groups"]
    assert (left["Instances"], left["Example"]) == (1, "2.1.0")


def test_what_is_at_another_store_is_not_dismissed_with_it(engine):
    """The account was another store before, which has refused something for the same reason."""
    prepare(engine)
    for store, study in (("one", "1"), ("two", "2")):
        ledger = Ledger(engine, stores={"a": StoreName(store)})
        arrive(ledger, 2, study=study)
        settle(ledger, State.QUARANTINED, reason="invalid")
    api = QuarantineApi(ledger, lambda: None)
    groups = api.groups("a", Selection(account="a"))["Groups"]
    numbers = {one["Store"]: one["Destination"] for one in groups}
    body = {**WHO, "Reason": "invalid", "Destination": numbers["one"], "Instances": 2}
    assert api.dismiss("a", body)["Instances"] == 2
    (left,) = api.groups("a", Selection(account="a"))["Groups"]
    assert (left["Store"], left["Instances"]) == ("two", 2)
    at = Selection(account="a", destination_id=numbers["one"])
    assert api.groups("a", at)["Groups"] == []
