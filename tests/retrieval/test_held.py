"""What Orthanc has of much at once, however little it answers to one query."""

from __future__ import annotations

import pytest

from orthanc_gcp.ledger.retrievals.rows import Resource
from orthanc_gcp.retrieval.held import described, held
from tests.retrieval.simulation import Orthanc, uids_of
from tests.support.site import make_instance


@pytest.fixture(scope="module")
def files():
    return [make_instance(size=1) for _ in range(5)]


@pytest.fixture
def orthanc(files):
    orthanc = Orthanc()
    for file in files:
        orthanc.upload("", file)
    return orthanc


def found(orthanc, *resources):
    return sorted(one.uids for some in held(orthanc, orthanc, resources) for one in some)


@pytest.mark.parametrize("limit", [None, 1, 2, 5])
@pytest.mark.parametrize("level", [1, 2, 3])
def test_of_all_that_is_asked_for(orthanc, files, level, limit):
    """LimitFindResults cuts what is found, and nobody says so."""
    orthanc.limit = limit
    wanted = [Resource(*uids_of(file)[:level]) for file in files]
    absent = [Resource(*("9.9", "9.8", "9.7")[:level])]
    assert found(orthanc, *absent, *wanted, *wanted) == sorted(map(uids_of, files))
    assert found(orthanc, *absent) == []
    assert found(orthanc) == []


def test_what_no_query_can_ask_for(orthanc, files):
    study, series, instance = uids_of(files[0])
    assert found(orthanc, Resource(study, f"{series}*", "?")) == [(study, series, instance)]
    assert found(orthanc, Resource("*")) == []


def test_by_what_orthanc_calls_them(orthanc, files):
    names = [*orthanc.files, "gone"]
    assert len([one for some in described(orthanc, names) for one in some]) == len(files)


def test_one_that_is_deleted_meanwhile(orthanc, files, monkeypatch):
    members, gone = orthanc.members, iter([KeyError("x")])

    def failing(resources):
        for error in gone:
            raise error
        return members(resources)

    monkeypatch.setattr(orthanc, "members", failing)
    study = Resource(uids_of(files[0])[0])
    assert found(orthanc, study) == [uids_of(files[0])]
    gone = iter([KeyError("x")] * 9)
    assert found(orthanc, study) == []
