"""The studies of a selection come page by page, none left out and none twice."""

from __future__ import annotations

import pytest

from orthanc_gcp.ledger import studies as module
from orthanc_gcp.ledger.selection import Selection
from orthanc_gcp.ledger.studies import AccountStudy, all_studies, page_of_studies
from tests.support.transfers import arrive


@pytest.fixture
def known(ledger):
    for study in ("1.10", "1.2", "1.9"):
        for account in "ab":
            arrive(ledger, 2, study=study, account=account)
    return [AccountStudy(study, account) for study in ("1.10", "1.2", "1.9") for account in "ab"]


def test_pages(ledger, known):
    assert page_of_studies(ledger, Selection(), None, 4) == known[:4]
    assert page_of_studies(ledger, Selection(), known[3], 4) == known[4:]
    assert page_of_studies(ledger, Selection(), known[5], 4) == []


@pytest.mark.parametrize("size", [1, 2, 3, 6, 100])
def test_all(ledger, known, monkeypatch, size):
    monkeypatch.setattr(module, "_PAGE", size)
    assert list(all_studies(ledger, Selection())) == known
    assert list(all_studies(ledger, Selection(account="b"))) == known[1::2]
    assert list(all_studies(ledger, Selection(study_instance_uid="none"))) == []
