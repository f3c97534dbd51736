"""What becomes of instances that Orthanc does not give; with a real Orthanc in test_sender."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orthanc_gcp.custody.transfer.source_faults import MOST_LONELY_UNREADABLE, SourceFaults
from orthanc_gcp.errors import (
    OrthancGoneError,
    OrthancRefusedError,
    OrthancUnavailableError,
    SourceError,
)
from orthanc_gcp.ledger.schema import State
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.orthanc.orthanc_stub import stub
from tests.support.orthanc import free_port
from tests.support.simulation import FakeClock
from tests.support.transfers import arrive


@pytest.fixture
def server():
    with stub({"POST /tools/bulk-content": []}) as running:
        yield running


@pytest.fixture
def away():
    return []


@pytest.fixture
def faults(ledger, server, away, tmp_path):
    def make(url: str = "") -> SourceFaults:
        return SourceFaults(
            ledger,
            OrthancSource(OrthancRest(url or server.url), tmp_path),
            FakeClock(),
            lambda error, pause: away.append((str(error), pause)),
            lambda source: True,
            lambda row, since: False,
            lambda: 1.0,
        )

    return make


@pytest.fixture
def rows(ledger):
    """Three of one batch."""
    arrive(ledger, 3)
    return ledger.queue.claim(
        "a", "o", "b", "w", most_instances=9, most_bytes=10**9, most_batches=9
    )


def unreadable(row, cause: Exception) -> SourceError:
    error = SourceError("cannot", sop_instance_uid=row.sop_instance_uid, reason="unreadable")
    error.__cause__ = cause
    return error


def test_while_orthanc_is_away_nothing_is_held_against_any(faults, rows, away):
    error = unreadable(rows[1], OrthancUnavailableError("broke off"))
    outcomes = faults(f"http://127.0.0.1:{free_port()}").without(rows, error, {})
    assert [(one.state, one.reason, one.attempts) for one in outcomes] == [
        (State.DELAYED, "orthanc", 0)
    ] * 3
    assert len(away) == 1


def test_an_orthanc_that_breaks_off_at_one_is_not_away(faults, rows, server):
    path = f"GET /instances/{rows[1].orthanc_id}/attachments/dicom/size"
    server.answers[path] = b"%d" % rows[1].size_bytes
    error = unreadable(rows[1], OrthancUnavailableError("broke off"))
    states = {one.id: one.state for one in faults().without(rows, error, {})}
    assert states == {row.id: State.DELAYED if row is rows[1] else State.WAITING for row in rows}


def test_what_orthanc_does_not_have_is_absent(faults, rows):
    error = unreadable(rows[0], OrthancGoneError("gone", status=404))
    first = faults().without(rows, error, {})[0]
    assert (first.id, first.state, first.reason) == (rows[0].id, State.DELAYED, "absent")


def test_what_has_another_size_goes_with_that(faults, rows, server):
    server.answers[f"GET /instances/{rows[0].orthanc_id}/attachments/dicom/size"] = b"7"
    error = unreadable(rows[0], OrthancRefusedError("500", status=500))
    first = faults().without(rows, error, {})[0]
    assert (first.state, first.size_bytes) == (State.WAITING, 7)


def test_attempts_that_ended_otherwise_do_not_count(faults, rows):
    of = faults()
    before = replace(rows[0], attempts=MOST_LONELY_UNREADABLE + 9, reason="timeout")
    assert of.without_file(before, "500").attempts == 1
    last = replace(rows[0], attempts=MOST_LONELY_UNREADABLE - 1, reason="orthanc")
    assert of.without_file(last, "500").state == State.QUARANTINED
