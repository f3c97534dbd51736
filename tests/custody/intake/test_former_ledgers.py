"""A ledger that has come into the place of another is noticed, by what stands beside the images."""

from __future__ import annotations

import json

import pytest

from orthanc_gcp.custody.intake import former_ledgers as former_ledgers_module
from orthanc_gcp.custody.intake.backfill_studies import BackfillStudies
from orthanc_gcp.custody.intake.former_ledgers import (
    FILE_NAME,
    accept,
    former_ledgers,
    note_ledger,
)
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.upgrade import prepare
from tests.support.ledgers import ORTHANC, Time, empty


def note(ledger, folder, instances=7):
    return note_ledger(ledger, folder, ORTHANC, lambda: instances)


@pytest.fixture
def another(tmp_path):
    """The ledger that comes into the place of the first."""
    (tmp_path / "another").mkdir()
    for engine in empty("", tmp_path / "another"):
        prepare(engine)
        yield Ledger(engine, Time())


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "storage"
    made.mkdir()
    return made


def test_the_first_ledger_is_in_no_other_s_place(ledger, folder):
    assert not note(ledger, folder)
    assert not note(ledger, folder), "it is the same"
    assert former_ledgers(ledger) == []


def test_another_is(ledger, another, folder):
    note(ledger, folder)
    assert note(another, folder)
    (former,) = former_ledgers(another)
    assert (former.source, former.instances) == (ORTHANC, 7)
    assert former.noticed_at == another.now()
    assert not note(another, folder, 8), "it is known by now"
    assert [one.instances for one in former_ledgers(another)] == [7], "until it is made up for"
    assert not note(ledger, folder), "the first one, restored, is not new"
    assert former_ledgers(ledger) == []


def test_a_person_may_accept_it(ledger, another, folder):
    note(ledger, folder)
    note(another, folder)
    assert not accept(another, "another index")
    assert accept(another, ORTHANC)
    assert former_ledgers(another) == []
    assert not accept(another, ORTHANC)


def test_a_folder_that_cannot_be_written(ledger, another, folder, monkeypatch):
    """What was accepted stays so, though the file never names this ledger."""
    note(ledger, folder)

    def refuse(*_):
        raise PermissionError("no")

    monkeypatch.setattr(former_ledgers_module, "_write", refuse)
    for _ in range(2):
        with pytest.raises(PermissionError):
            note(another, folder)
    assert len(former_ledgers(another)) == 1
    assert accept(another, ORTHANC)
    with pytest.raises(PermissionError):
        note(another, folder)
    assert former_ledgers(another) == []


def test_a_backfill_makes_up_for_it(ledger, another, folder):
    studies = BackfillStudies(another, ORTHANC, ())
    studies.restart()
    studies.finish(studies.run)
    another.now.now += 10
    note(ledger, folder)
    note(another, folder)
    assert former_ledgers(another), "that was before"
    another.now.now += 10
    studies.restart()
    assert former_ledgers(another), "it is not at its end"
    studies.finish(studies.run)
    assert former_ledgers(another) == []


def test_a_worker_elsewhere_has_no_folder(ledger, folder):
    assert not note(ledger, folder / "none")
    assert not (folder / "none").exists()


@pytest.mark.parametrize("content", ["", "{", "7", "null", '{"a": 1}', "[7, null]", "\xff"])
def test_what_is_no_note_says_nothing(ledger, folder, content):
    (folder / FILE_NAME).write_bytes(content.encode("latin-1"))
    assert not note(ledger, folder)
    assert len(json.loads((folder / FILE_NAME).read_text())) == 1


@pytest.mark.parametrize(
    "value", [7, [], {}, {"noticed_at": "x", "instances": 1, "accepted": False}]
)
def test_a_damaged_value_says_nothing(ledger, value):
    ledger.key_values.set(f"former_ledger:{ORTHANC}", value)
    assert former_ledgers(ledger) == []


def test_the_file_does_not_grow_for_ever(ledger, folder):
    (folder / FILE_NAME).write_text(json.dumps([str(number) for number in range(50)]))
    assert note(ledger, folder)
    noted = json.loads((folder / FILE_NAME).read_text())
    assert len(noted) == 20
    assert noted[-2] == "49"
