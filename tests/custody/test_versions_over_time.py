"""Which version of an instance a store keeps, while others of it are on their way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace

import pytest
import sqlalchemy as sql

from orthanc_gcp.custody.reporting.operations import retry
from orthanc_gcp.dicomweb import DicomStore
from orthanc_gcp.dicomweb.store_request import Part
from orthanc_gcp.emulator.server import Emulator
from tests.custody.test_kept_versions import NEW, OLD, Life, emulator, file_of
from tests.support.mishaps import sha256
from tests.support.sent import rows
from tests.support.simulated_worker import _Rest

__all__ = ["emulator"]
NEWEST = file_of(0, 0, 0, 0, 2)


def stored(life: Life) -> set[str | None]:
    return {life.stored(row) for row in rows(life.ledger)}


def upserts_of(life: Life) -> DicomStore:
    return life.workers[0]._stores[1]


def replaced_meanwhile(life: Life, receive: Callable[[], None]) -> None:
    """The store has a newer version, and that is confirmed: nobody waits for the end of another."""
    receive()
    life.run(60)
    assert stored(life) == {sha256(NEWEST)}


@pytest.fixture(params=["the same Orthanc", "another"])
def receive_newest(request, life) -> Callable[[], None]:
    """Receive a version that is newer than all that were received."""
    index = life.orthancs[0].index
    if request.param == "another":
        index = life.add_orthanc("second")
        life.run(60)
    return lambda: life.receive(index, NEWEST)


@pytest.fixture
def life(engine: sql.Engine, emulator: Emulator) -> Iterator[Life]:
    """Orthanc's second version is on its way, and is to replace the first."""
    made = Life(engine.url.render_as_string(hide_password=False), emulator)
    made.town.replaces = True
    made.receive(made.add_orthanc(), OLD)
    made.run()
    yield made
    made.close()


def test_an_upsert_that_lasts_does_not_replace_what_was_received_meanwhile(
    life, receive_newest, monkeypatch
):
    """Its last bytes do not leave."""
    passing, store, begun = _Rest._passing, upserts_of(life).store, list[str]()

    def storing(*parts, **more):
        begun.append("request")
        return store(*parts, **more)

    def passing_slowly(rest, pieces):
        yield from passing(rest, pieces)
        if begun == ["request"]:
            begun.append("wait")
            take_over(life)
            replaced_meanwhile(life, receive_newest)

    monkeypatch.setattr(upserts_of(life), "store", storing)
    monkeypatch.setattr(_Rest, "_passing", passing_slowly)
    life.receive(life.orthancs[0].index, NEW)
    life.run(120)
    assert "wait" in begun
    assert stored(life) == {sha256(NEWEST)}


def test_what_an_upsert_may_have_replaced_is_read_back_once_more(life, receive_newest, monkeypatch):
    """Its last bytes had left before."""
    store, begun = upserts_of(life).store, list[str]()

    def storing(parts, *, may_end, **more):
        begun.append("request")
        if len(begun) > 1:
            return store(parts, may_end=may_end, **more)
        assert may_end()
        parts = [in_memory(part) for part in parts]
        take_over(life)
        replaced_meanwhile(life, receive_newest)
        return store(parts, **more)

    monkeypatch.setattr(upserts_of(life), "store", storing)
    monkeypatch.setattr(Life, "nothing_false", lambda _life: None)
    life.receive(life.orthancs[0].index, NEW)
    life.run(120)
    assert begun
    monkeypatch.undo()
    life.nothing_false()
    assert stored(life) == {sha256(NEWEST)}
    assert sha256(NEWEST) in {row.sha256 for row in rows(life.ledger) if row.state == "confirmed"}


@pytest.mark.parametrize("status", [403, 404])
def test_upserts_that_are_refused_hold_up_nothing_else(life, status):
    """Who may store may not be allowed to replace: by a proxy, or a policy."""
    index = life.orthancs[0].index
    life.emulator.fault_settings.change(
        faults=[{"method": "PUT", "path": life.name.store, "status": status}]
    )
    mine = life.receive(index, NEW)
    life.run()
    assert life.states()[mine][0] == "delayed"
    for number in range(3):
        other = life.receive(index, file_of(2, 1, 0, number, 0))
        life.run(10)
        assert life.states()[other] == ("confirmed", None)
    life.run(900)
    assert life.states()[mine][0] == "quarantined"
    life.be_well()
    assert len(retry(life.ledger)) == 1
    life.run(60)
    assert life.states()[mine] == ("confirmed", None)


def take_over(life: Life) -> None:
    """The worker seems to be gone: what it was sending waits again."""
    life.ledger.queue.requeue_claims_of(life.workers[0].name)


def in_memory(part: Part) -> Part:
    with part.read() as pieces:
        content = b"".join(pieces)
    return replace(part, read=lambda: nullcontext(iter([content])))
