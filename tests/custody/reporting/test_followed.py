"""What was queued is followed until it has ended."""

from __future__ import annotations

import pytest

from orthanc_gcp.custody.reporting import followed as module
from orthanc_gcp.custody.reporting.followed import Followed, rows_of
from orthanc_gcp.ledger.schema import State
from tests.support.transfers import arrive, confirm, settle


def rows(ledger, study, count):
    return rows_of(ledger, "a", "o", [f"{study}-{n}" for n in range(count)])


@pytest.mark.parametrize("portion", [500, 2])
def test_each_state_is_counted_when_it_has_ended(ledger, monkeypatch, portion):
    monkeypatch.setattr(module, "MOST_PARAMETERS", portion)
    arrive(ledger, 3, study="1")
    arrive(ledger, 2, study="2")
    chosen = rows(ledger, "1", 3)
    assert len(chosen) == 3
    followed = Followed(ledger, chosen)
    followed.read()
    assert (followed.total, followed.confirmed, followed.is_over) == (3, 0, False)
    assert followed.first_open == chosen[0]
    settle(ledger, State.QUARANTINED, count=1, reason="invalid", detail="no DICOM")
    confirm(ledger)
    followed.read()
    assert followed.is_over
    assert followed.first_open is None
    assert (followed.confirmed, followed.confirmed_bytes) == (2, 200)
    assert followed.as_json() == {
        "Instances": 3,
        "Confirmed": 2,
        "Open": 0,
        "States": {"confirmed": 2, "quarantined": 1},
        "Unconfirmed": [
            {
                "Study": "1",
                "Instance": "1.1.0",
                "State": "quarantined",
                "Reason": "invalid",
                "Detail": "no DICOM",
            }
        ],
    }


def test_an_acknowledgement_is_no_end(ledger):
    arrive(ledger)
    followed = Followed(ledger, rows(ledger, "1.1", 1))
    settle(ledger, State.ACKNOWLEDGED, sha256="d")
    followed.read()
    assert not followed.is_over


def test_rows_that_are_gone_are_not_confirmed(ledger):
    followed = Followed(ledger, [77])
    followed.read()
    assert followed.is_over
    assert followed.confirmed < followed.total


def test_only_so_many_are_named(ledger):
    arrive(ledger, 30, study="1")
    settle(ledger, State.WITHDRAWN, reason="deleted")
    followed = Followed(ledger, rows(ledger, "1", 30))
    followed.read()
    assert followed.ended == {State.WITHDRAWN: 30}
    assert len(followed.unconfirmed) == 20


def test_rows_of_another_orthanc_or_account_are_not_meant(ledger):
    arrive(ledger, 2, study="1")
    assert rows_of(ledger, "b", "o", ["1-0"]) == []
    assert rows_of(ledger, "a", "p", ["1-0"]) == []
    assert rows_of(ledger, "a", "o", ["x"]) == []
