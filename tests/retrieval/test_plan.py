"""Which request brings what."""

from __future__ import annotations

from dataclasses import replace

from orthanc_gcp.ledger.retrievals.rows import RetrievedRow
from orthanc_gcp.ledger.schema import RetrievedState
from orthanc_gcp.retrieval.plan import MOST_TOGETHER, SMALL, fetches

ROW = RetrievedRow(
    *(0, 1, 1, "study", "series", "", 1000, RetrievedState.WAITING, 0, None, None, None),
    *(None, None, None),
)


def rows(count, **more):
    first = more.pop("first", 0)
    return [
        replace(ROW, id=first + number, sop_instance_uid=str(first + number), **more)
        for number in range(count)
    ]


def planned(some, of_all=True, listed=None):
    found = fetches(some, of_all, lambda _series: len(some) if listed is None else listed)
    return [(len(one.rows), one.study, one.series) for one in found]


def test_many_small_ones_of_a_series_come_together():
    assert planned(rows(50)) == [(50, "study", "series")]
    assert planned(rows(50), of_all=False) == [(50, "study", "series")]


def test_many_small_series_of_a_study_come_together():
    some = rows(5, series_instance_uid="a") + rows(5, series_instance_uid="b", first=5)
    assert planned(some) == [(10, "study", None)]
    assert planned(some, of_all=False) == [(5, "study", "a"), (5, "study", "b")]


def test_large_ones_come_by_themselves():
    assert planned(rows(3, size_bytes=SMALL + 1)) == [(1, "", None)] * 3
    mixed = rows(2, size_bytes=SMALL * 9) + rows(9, series_instance_uid="z", first=2)
    assert planned(mixed, listed=9) == [(1, "", None), (1, "", None), (9, "study", "z")]
    many = MOST_TOGETHER // SMALL + 1
    assert len(planned(rows(many, size_bytes=SMALL))) == many


def test_one_comes_by_itself():
    assert planned(rows(1)) == [(1, "", None)]


def test_what_is_there_for_the_most_part_is_not_brought_again():
    assert planned(rows(4), listed=9) == [(1, "", None)] * 4
    assert planned(rows(5), listed=10) == [(5, "study", "series")]


def test_what_has_failed_and_what_is_compared_comes_by_itself():
    some = rows(4) + rows(2, attempts=1, first=4)
    some += rows(1, state=RetrievedState.COMPARING, first=6)
    assert planned(some) == [(4, "study", "series"), *[(1, "", None)] * 3]
    compared = [one for one in fetches(some, True, lambda _: 7) if one.is_single]
    assert [one.rows[0].id for one in compared] == [4, 5, 6]


def test_nothing_comes_of_nothing():
    assert planned([]) == []
