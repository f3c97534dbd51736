"""A question that takes too long is asked for less, and later for more again."""

from __future__ import annotations

import threading

import pytest

from orthanc_gcp.errors import OrthancError, OrthancRefusedError, OrthancUnavailableError
from orthanc_gcp.orthanc.page_size import GROW_AFTER, PageSize
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.orthanc.orthanc_stub import stub


def slow_from(most: int, asked: list[int]):
    def question(size: int) -> int:
        asked.append(size)
        if size > most:
            raise OrthancUnavailableError("too slow", timed_out=True)
        return size

    return question


def test_half_as_much_until_it_is_answered_and_then_that():
    asked: list[int] = []
    size = PageSize(200)
    question = slow_from(30, asked)
    assert size.ask(question) == (25, 25)
    assert size.ask(question) == (25, 25)
    assert asked == [200, 100, 50, 25, 25]


def test_more_again_when_it_goes_well():
    asked: list[int] = []
    size = PageSize(200)
    size.ask(slow_from(150, asked))
    for _ in range(GROW_AFTER):
        size.ask(slow_from(1000, asked))
    assert asked[-1] == 200


def test_the_least_that_is_not_answered_is_an_error():
    asked: list[int] = []
    with pytest.raises(OrthancUnavailableError):
        PageSize(8, 3).ask(slow_from(0, asked))
    assert asked == [8, 4, 3]


def test_more_than_there_are_is_not_asked_for():
    asked: list[int] = []
    size = PageSize(200)
    with pytest.raises(OrthancUnavailableError):
        size.ask(slow_from(0, asked), 1)
    assert size.ask(slow_from(9, asked), 3) == (3, 3)
    assert asked == [1, 3]
    assert size.ask(lambda most: most) == (200, 200)


@pytest.mark.parametrize("there", [1, 150])
def test_that_little_is_there_says_nothing_of_more(there):
    """Most questions are for few things, as for the series and the study of 200 instances."""
    asked: list[int] = []
    size = PageSize(200)
    size.ask(slow_from(100, asked))
    for _ in range(GROW_AFTER):
        size.ask(slow_from(100, asked), min(there, 99))
    assert size.ask(slow_from(100, asked)) == (100, 100)
    assert asked.count(200) == 1, "nor that more would come in time"
    size = PageSize(200)
    for _ in range(GROW_AFTER):  # and where all has come in time so far
        size.ask(slow_from(200, asked), there)
    assert size.ask(slow_from(200, asked)) == (200, 200)


def test_a_few_changes_that_come_in_time_say_nothing_of_many(tmp_path):
    """The newest twenty are asked for often."""
    asked: list[int] = []
    stop = threading.Event()

    def page_of(size: int):
        def answer(_question):
            asked.append(size)
            if size > 500:
                stop.wait(5)
            return {"Changes": [], "Last": 0, "Done": True}

        return answer

    answers = {f"GET /changes?since=0&limit={size}": page_of(size) for size in (20, 500, 1000)}
    with stub(answers) as server:
        source = OrthancSource(OrthancRest(server.url, timeout=0.3), tmp_path)
        source.changes(0)
        for _ in range(GROW_AFTER):
            source.changes(0, 20)
        source.changes(0)
        stop.set()
    assert asked == [1000, 500, *[20] * GROW_AFTER, 500]


@pytest.mark.parametrize("error", [OrthancUnavailableError("away"), OrthancRefusedError("no")])
def test_another_failure_says_nothing_of_the_size(error):
    def question(size: int) -> None:
        raise error

    size = PageSize(8)
    with pytest.raises(OrthancError):
        size.ask(question)
    assert size.ask(lambda most: most) == (8, 8)


def test_descriptions_that_take_orthanc_too_long_come_in_portions(tmp_path):
    """Each instance takes a while: 200 at once would never come."""
    levels = {
        "Instance": {
            "ParentSeries": "s",
            "MainDicomTags": {"SOPInstanceUID": "1.3"},
            "FileSize": 5,
        },
        "Series": {"ParentStudy": "t", "MainDicomTags": {"SeriesInstanceUID": "1.2"}},
        "Study": {"ParentPatient": "p", "MainDicomTags": {"StudyInstanceUID": "1.1"}},
    }
    stop = threading.Event()

    def content(question):
        if len(question["Resources"]) > 60:
            stop.wait(5)
        level = question["Level"]
        return [{"ID": one, "Type": level, **levels[level]} for one in question["Resources"]]

    with stub({"POST /tools/bulk-content": content}) as server:
        source = OrthancSource(OrthancRest(server.url, timeout=0.3), tmp_path)
        wanted = [str(number) for number in range(210)]
        assert [one.orthanc_id for one in source.describe(wanted)] == wanted
        stop.set()
