"""What rules make of instances; those that cannot be read hold up nobody, and are tried again."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from orthanc_gcp.configuration import SendRule
from orthanc_gcp.custody.intake import selection as module
from orthanc_gcp.custody.intake.rules import Rules
from orthanc_gcp.custody.intake.selection import Selector, Unreadable
from orthanc_gcp.errors import OrthancError, OrthancRefusedError
from orthanc_gcp.orthanc.resources import Description
from tests.support.ledgers import ORTHANC
from tests.support.simulation import FakeClock
from tests.support.transfers import events_of


class Described:
    """An Orthanc, as far as it describes instances; of some it cannot read the file."""

    def __init__(self, *names: str) -> None:
        self.names, self.damaged = set(names), set()
        self.checksums = SimpleNamespace(md5s=lambda _wanted: {})

    def describe_each(self, resources, since=0):
        return [_described(name) for name in resources if name in self.names], []

    def attributes(self, name, _numbers):
        if name in self.damaged:
            raise OrthancRefusedError("answered 500", status=500)
        return {"0028,0010": "64"}


def _described(name: str) -> Description:
    return Description(
        orthanc_id=name,
        study_instance_uid="1.1",
        series_instance_uid="1.2",
        sop_instance_uid=f"1.3.{name}",
        size_bytes=100,
        received_at=5.0,
        attachment_uuid=f"u{name}",
        tags={},
        origin={},
        parents={},
    )


@pytest.fixture
def orthanc():
    return Described("1", "2", "3")


def rules_for(orthanc):
    return Rules([SendRule(to="a", tags={"Rows": "64"})], orthanc.attributes)


@pytest.fixture
def selector(ledger, orthanc):
    return Selector(ledger, orthanc, rules_for(orthanc))


@pytest.fixture
def unreadable(ledger, orthanc, selector):
    return Unreadable(ledger, FakeClock(), rules_for(orthanc), selector)


def test_each_is_wanted_or_unreadable_or_gone(selector, orthanc):
    orthanc.damaged = {"2"}
    found = selector.select(ORTHANC, ["3", "2", "1", "4"], {"3": 7}.get)
    assert [(one.orthanc_id, one.change_seq) for one in found.arrivals] == [("3", 7), ("1", 0)]
    assert [one.orthanc_id for one in found.wanted] == ["3", "2", "1"], "2 may be, too"
    assert (found.unreadable, found.gone) == (("2",), ("4",))


def test_what_cannot_be_read_is_tried_until_it_can(ledger, unreadable, orthanc):
    orthanc.damaged = {"1"}
    unreadable.remember(ORTHANC, ["1", "2"])
    assert len(unreadable.retry(ORTHANC)) == 2
    assert ledger.arrivals.unreadable(ORTHANC) == ["1"]
    assert set(ledger.arrivals.known(ORTHANC, ["1", "2"])) == {"2"}
    orthanc.damaged = set()
    unreadable.retry(ORTHANC)
    assert set(ledger.arrivals.known(ORTHANC, ["1", "2"])) == {"1", "2"}
    assert unreadable.retry(ORTHANC) == []


def test_what_is_gone_by_then_is_said(ledger, unreadable):
    unreadable.remember(ORTHANC, ["4"])
    unreadable.retry(ORTHANC)
    assert ledger.arrivals.unreadable(ORTHANC) == []
    (event,) = events_of(ledger, "changes missing")
    assert "(4)" in event.detail


def test_of_too_many_none_is_remembered(ledger, unreadable, monkeypatch):
    monkeypatch.setattr(module, "MOST_UNREADABLE", 2)
    unreadable.remember(ORTHANC, ["1", "2"])
    with pytest.raises(OrthancError, match="cannot read what it has stored"):
        unreadable.remember(ORTHANC, ["3"])
    assert ledger.arrivals.unreadable(ORTHANC) == ["1", "2"]
