"""The Orthanc that is asked: which it is to the ledger, and from when on nothing more counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orthanc_gcp import configuration
from orthanc_gcp.commands.audit.sources import AuditedOrthanc
from orthanc_gcp.errors import OrthancError
from orthanc_gcp.ledger.ledger import Ledger
from tests.support.studies import Study


@pytest.fixture
def ledger(site):
    engine = site.engine()
    yield Ledger(engine)
    engine.dispose()


def test_what_it_is(site, ledger):
    study = Study(site, instances=1).confirmed()
    found = AuditedOrthanc.of(site.orthanc.url, configuration.read({}), ledger)
    assert (found.url, found.name) == (site.orthanc.url, "test/ORTHANC")
    assert found.index == study.rows()[0].source
    assert not found.is_earlier
    assert found.since <= study.rows()[0].received_at + 1
    assert found.as_json()["Index"] == found.index


def test_a_clock_that_goes_before(site, ledger):
    Study(site, instances=1).confirmed()
    found = AuditedOrthanc.of(site.orthanc.url, configuration.read({}), ledger)
    now = ledger.now()
    assert now - 60 < found.newest_at <= now
    assert found.begin(now + 60) == now + 60
    ahead = replace(found, newest_at=now + 300)
    assert ahead.begin(now) == now + 301, "what it has by now was received before"


def test_one_that_is_away(ledger):
    with pytest.raises(OrthancError, match="does not answer"):
        AuditedOrthanc.of("http://127.0.0.1:1", configuration.read({}), ledger)
