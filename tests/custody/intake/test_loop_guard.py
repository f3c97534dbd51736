"""What came from a store is known when it arrives, by its bytes."""

from __future__ import annotations

import hashlib
import socket

import pytest

from orthanc_gcp.custody.intake.loop_guard import LoopGuard
from orthanc_gcp.errors import OrthancGoneError
from orthanc_gcp.ledger.retrievals.rows import (
    Arrived,
    Coming,
    Digests,
    Listed,
    Resource,
    RetrievalOutcome,
)
from orthanc_gcp.ledger.schema import Priority, RetrievedState, State
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.support.ledgers import ORTHANC, A, arrival, claim, states
from tests.support.raw_server import RawServer

FILE = b"the file"
DIGESTS = Digests(len(FILE), hashlib.md5(FILE).hexdigest(), hashlib.sha256(FILE).hexdigest())


class Orthanc:
    """Has files; the MD5 of each, unless it was told not to store them."""

    def __init__(self, *, md5=True):
        self.file, self.md5, self.checksums = FILE, md5, self

    def md5s(self, instances):
        return {one: hashlib.md5(self.file).hexdigest() for one in instances if self.md5}

    def sha256(self, _identifier, _file, _size):
        if self.file is None:
            raise OrthancGoneError("gone", status=404)
        return hashlib.sha256(self.file).hexdigest()


def retrieved(ledger, uids=("study", "series", "1.x"), file=None):
    """An instance that came from the store of the account."""
    (number,) = ledger.retrievals.request(A, ORTHANC, [Resource(uids[0])], compare_bytes=False)
    (retrieval,) = [one for one in ledger.retrievals.open(ORTHANC) if one.id == number]
    ledger.retrieval_rounds.add_listed([(retrieval, Listed(uids, 1))])
    (row,) = ledger.retrievals.pending(retrieval, (), 10)
    ledger.retrievals.note_digests([Coming(row.id, 1, DIGESTS)])
    if file is not None:
        ledger.retrievals.settle([RetrievalOutcome(row.id, RetrievedState.RECEIVED)])
        ledger.retrieval_rounds.recognize([retrieval], [Arrived(uids, "x", file, 8)])
    return row


def recorded(ledger, orthanc, *arrivals):
    ledger.arrivals.record(LoopGuard(ledger, orthanc).recognize(arrivals))
    return states(ledger)


@pytest.mark.parametrize("md5", [True, False])
@pytest.mark.parametrize("file", [None, "file", ""])
def test_it_is_not_sent(ledger, md5, file):
    retrieved(ledger, file=file)
    one = arrival("x", attachment_uuid="file", held_for_orthanc_id="series")
    assert recorded(ledger, Orthanc(md5=md5), one, arrival("y")) == {
        "x": State.CONFIRMED,
        "y": State.WAITING,
    }
    assert claim(ledger) == ["y"]
    ledger.arrivals.release(ORTHANC, ["series"])
    assert states(ledger)["x"] == State.CONFIRMED


@pytest.mark.parametrize("md5", [True, False])
def test_other_bytes_are_sent(ledger, md5):
    retrieved(ledger)
    orthanc = Orthanc(md5=md5)
    orthanc.file = b"changed"
    assert recorded(ledger, orthanc, arrival("x")) == {"x": State.WAITING}


def test_it_is_sent_once_it_was_changed(ledger):
    retrieved(ledger)
    orthanc = Orthanc()
    assert recorded(ledger, orthanc, arrival("x")) == {"x": State.CONFIRMED}
    orthanc.file = b"changed"
    again = arrival("x", change_seq=2, received_at=6000.0)
    assert recorded(ledger, orthanc, again) == {"x": State.WAITING}


def test_what_arrives_anew_with_the_same_bytes_is_sent(ledger):
    """The store may have lost them since: it says so, if it has not."""
    retrieved(ledger, file="file")
    assert recorded(ledger, Orthanc(), arrival("x", attachment_uuid="other")) == {
        "x": State.WAITING
    }


def test_what_orthanc_had_not_taken_is_sent_when_it_arrives(ledger):
    """Its filter refused it from the store, which may have lost it until a modality sends it."""
    row = retrieved(ledger)
    refused = RetrievalOutcome(row.id, RetrievedState.MISSING, may_be_in_orthanc=False)
    ledger.retrievals.settle([refused])
    assert recorded(ledger, Orthanc(), arrival("x")) == {"x": State.WAITING}


def test_other_accounts_and_demands_and_other_instances_are_sent(ledger):
    retrieved(ledger)
    guard = LoopGuard(ledger, Orthanc())
    others = [
        arrival("x", account="other"),
        arrival("y", priority=Priority.DEMANDED),
        arrival("z", study_instance_uid="other", sop_instance_uid="1.x"),
    ]
    assert guard.recognize(others) == others
    (demanded,) = guard.recognize([arrival("x", priority=Priority.DEMANDED)])
    assert demanded.retrieved_sha256 is None


def test_one_that_cannot_be_read_is_sent(ledger):
    retrieved(ledger)
    orthanc = Orthanc(md5=False)
    orthanc.file = None
    assert recorded(ledger, orthanc, arrival("x")) == {"x": State.WAITING}


@pytest.mark.parametrize("breaks_off", [False, True])
def test_one_that_orthanc_breaks_off_is_sent(ledger, tmp_path, breaks_off):
    """Each time: what follows it does not wait for it."""
    retrieved(ledger)
    length = len(FILE) + breaks_off

    def answers(connection, head):
        body, status, count = b"{}", b"200 OK", 2
        if b"/file" in head:
            body, count = FILE, length
        elif b"/changes" not in head:  # no MD5
            status = b"404 Not Found"
        head = b"HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        connection.sendall(head % (status, count) + body)
        connection.shutdown(socket.SHUT_RDWR)

    with RawServer(answers) as server:
        orthanc = OrthancSource(OrthancRest(f"http://127.0.0.1:{server.port}"), tmp_path)
        state = State.WAITING if breaks_off else State.CONFIRMED
        assert recorded(ledger, orthanc, arrival("x")) == {"x": state}


def test_it_is_older_than_what_was_not_sent_there_before(ledger):
    """Another Orthanc's version waits, that was received before this one came back."""
    ledger.arrivals.record([arrival("x", source="elsewhere", received_at=1.0)])
    retrieved(ledger)
    recorded(ledger, Orthanc(), arrival("x"))
    rows = [
        row.source
        for row in ledger.queue.claim(
            A, "elsewhere", "b", "w", most_instances=9, most_bytes=99999, most_batches=9
        )
    ]
    assert rows == ["elsewhere"]
