"""The studies of a selection come page by page, none left out and none twice."""

from __future__ import annotations

import pytest

from orthanc_gcp.ledger import studies as module
from orthanc_gcp.ledger.destinations import StoreName
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.selection import Selection
from orthanc_gcp.ledger.studies import (
    AccountStudy,
    DestinationStudy,
    all_studies,
    page_of_studies,
)
from tests.support.transfers import arrive


@pytest.fixture
def known(ledger):
    for study in ("1.10", "1.2", "1.9"):
        for account in "ab":
            arrive(ledger, 2, study=study, account=account)
    ids = [ledger.destinations.find(account) for account in "ab"]
    return [DestinationStudy(study, one) for study in ("1.10", "1.2", "1.9") for one in ids]


def test_pages(ledger, known):
    assert page_of_studies(ledger, Selection(), None, 4) == known[:4]
    assert page_of_studies(ledger, Selection(), known[3], 4) == known[4:]
    assert page_of_studies(ledger, Selection(), known[5], 4) == []


@pytest.mark.parametrize("size", [1, 2, 3, 6, 100])
def test_all(ledger, known, monkeypatch, size):
    monkeypatch.setattr(module, "_PAGE", size)
    every = [AccountStudy(study, account) for study in ("1.10", "1.2", "1.9") for account in "ab"]
    assert list(all_studies(ledger, Selection())) == every
    assert list(all_studies(ledger, Selection(account="b"))) == every[1::2]
    assert list(all_studies(ledger, Selection(study_instance_uid="none"))) == []


def test_those_of_a_former_store_are_in_pages_only(ledger, clock):
    arrive(ledger, study="1")
    other = Ledger(ledger.engine, clock, {"a": StoreName("another")})
    first = Ledger(ledger.engine, clock, {"a": StoreName("first")})
    first.destinations.register()
    arrive(other, study="2")
    assert list(all_studies(first, Selection())) == [AccountStudy("1", "a")]
    assert list(all_studies(other, Selection())) == [AccountStudy("2", "a")]
    found = page_of_studies(other, Selection(account="a"), None, 9)
    assert [one.study_instance_uid for one in found] == ["1", "2"]
    assert page_of_studies(other, Selection(account="a"), found[0], 9) == found[1:]
