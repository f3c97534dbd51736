"""Which store an account is stands in the ledger, and a change of it in the log."""

from __future__ import annotations

from orthanc_gcp.ledger.destinations import StoreName
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import State
from orthanc_gcp.worker.stores import register_stores
from tests.support.transfers import arrive, confirm, settle

FIRST, SECOND = StoreName("projects/p/first"), StoreName("projects/p/second", "http://emulator")


def started(ledger: Ledger, clock, store: StoreName) -> Ledger:
    own = Ledger(ledger.engine, clock, {"a": store})
    clock.now += 1
    register_stores(own)
    return own


def test_a_change_is_said_once_with_what_is_open_of_the_former(ledger, clock, caplog):
    first = started(ledger, clock, FIRST)
    arrive(first, 3, study="1")
    confirm(first)
    arrive(first, 1, study="2")
    settle(first, State.QUARANTINED, reason="invalid")
    arrive(first, 2, study="3")
    assert not caplog.records
    started(ledger, clock, SECOND)
    (line,) = caplog.messages
    assert line.startswith(
        "account a: its destination is projects/p/second at http://emulator from now on, and was "
        "projects/p/first, for which 2 instances are open, 1 in quarantine and 3 confirmed."
    )
    assert "orthanc-gcp destinations" in line
    started(ledger, clock, SECOND)
    assert len(caplog.messages) == 1
    started(ledger, clock, FIRST)
    assert (
        "its destination is projects/p/first from now on, and was projects/p/second"
        in (caplog.messages[1])
    )


def test_a_ledger_that_did_not_say_which_store_it_was(ledger, clock, caplog):
    arrive(ledger, 3)
    started(ledger, clock, FIRST)
    assert caplog.messages == [
        "account a: what the ledger has of it counts as sent to projects/p/first, which it is now"
    ]
