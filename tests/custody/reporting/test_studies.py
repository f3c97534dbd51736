"""Studies are told whole, page by page."""

from __future__ import annotations

from datetime import datetime

import pytest

from orthanc_gcp.custody.reporting.instances import instances
from orthanc_gcp.custody.reporting.studies import series, studies
from orthanc_gcp.ledger.schema import State
from orthanc_gcp.ledger.selection import Selection
from tests.support.ledgers import BEGIN
from tests.support.transfers import arrive, confirm, settle


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"account": "b"}, {"3"}),
        ({"state": State.QUARANTINED}, {"2"}),
        ({"reason": "invalid"}, {"2"}),
        ({"study_instance_uid": "1"}, {"1"}),
        ({"series_instance_uid": "2.1"}, {"2"}),
        ({"sop_instance_uid": "3.1.0"}, {"3"}),
        ({"since": BEGIN - 50}, {"2", "3"}),
        ({"until": BEGIN - 50}, {"1"}),
        ({"account": "a", "state": State.CONFIRMED}, set()),
    ],
)
def test_what_fits_is_told(ledger, chosen, expected):
    arrive(ledger, 2, study="2")
    settle(ledger, State.QUARANTINED, reason="invalid", detail="no")
    arrive(ledger, 2, study="1", received_at=BEGIN - 100)
    arrive(ledger, 2, study="3", account="b")
    for found in (studies, instances):
        page = found(ledger, Selection(**chosen))
        assert {entry.study_instance_uid for entry in page.items} == expected


def test_studies_are_told_whole_and_page_by_page(ledger):
    arrive(ledger, 3, study="1")
    confirm(ledger)
    arrive(ledger, 2, study="1", prefix="late")
    for account in ("b", "c"):
        arrive(ledger, 1, study="1", account=account)
    arrive(ledger, 1, study="2")
    found, after = [], ""
    while after is not None:
        page = studies(ledger, Selection(), after, 1)
        after = page.following
        found += [(entry.study_instance_uid, entry.account) for entry in page.items]
    assert found == [("1", "a"), ("1", "b"), ("1", "c"), ("2", "a")]
    # Whatever was asked for, the figures are those of the whole study.
    (one,) = studies(ledger, Selection(study_instance_uid="1", state=State.CONFIRMED)).items
    told = one.as_json()
    assert (told["Confirmed"]["Instances"], told["Waiting"]["Instances"]) == (3, 2)
    assert datetime.fromisoformat(told["LastConfirmed"]).timestamp() == BEGIN


def test_the_series_of_a_study_page_by_page(ledger):
    arrive(ledger, 3, study="1")
    confirm(ledger)
    arrive(ledger, 2, study="1", prefix="late")
    arrive(ledger, 1, study="1", account="b")
    arrive(ledger, 1, study="2")
    found, after = [], ""
    while after is not None:
        page = series(ledger, "1", Selection(study_instance_uid="1"), after, 1)
        after = page.following
        found += [(entry.series_instance_uid, entry.account) for entry in page.items]
    assert found == sorted(set(found))
    assert {account for _, account in found} == {"a", "b"}
    of_a = series(ledger, "1", Selection(account="a", state=State.CONFIRMED)).items
    told = of_a[0].as_json()
    assert (told["Study"], told["Series"]) == ("1", of_a[0].series_instance_uid)
    everything = series(ledger, "1", Selection(account="a")).items
    assert sum(one.counts.confirmed.instances for one in everything) == 3
    assert sum(one.counts.waiting.instances for one in everything) == 2
    with pytest.raises(ValueError, match="x"):
        series(ledger, "1", Selection(), "1/x")
