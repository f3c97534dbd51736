"""Who is at fault shows in what becomes of the others."""

from __future__ import annotations

import random

import pytest

from orthanc_gcp.custody.destinations import fault_scope as module
from orthanc_gcp.custody.destinations.fault_scope import (
    OUTLIVED,
    SHARED_BY,
    SUSPECTED_FOR,
    Blame,
    FaultScope,
)


@pytest.fixture
def scope():
    return FaultScope()


def blamed(scope, subject, at):
    return scope.failed(subject, at, at).blame


def test_one_that_fails_alone_is_not_known_to_be_at_fault(scope):
    for number in range(1, 6):
        verdict = scope.failed("x", number, number)
        assert (verdict.blame, verdict.times, verdict.failures) == (Blame.UNKNOWN, number, number)
    assert scope.failed("x", 9, 9, otherwise=Blame.DESTINATION).blame is Blame.DESTINATION
    assert scope.sharing == 1


def test_one_that_fails_while_others_succeed_is_at_fault(scope):
    assert blamed(scope, "x", 1) is Blame.UNKNOWN
    assert not scope.succeeded(["y"], 2, 3)
    assert blamed(scope, "x", 4) is Blame.SUBJECT
    assert scope.failed("x", 5, 5, otherwise=Blame.DESTINATION).blame is Blame.SUBJECT


def test_a_request_that_began_before_others_succeeded_says_less(scope):
    blamed(scope, "x", 1)
    scope.succeeded(["y"], 2, 3)
    assert scope.failed("x", 2.5, 4).blame is Blame.UNKNOWN


def test_what_all_share_is_the_destinations(scope):
    blames = [blamed(scope, number, number) for number in range(SHARED_BY + 2)]
    assert blames == [Blame.UNKNOWN] * (SHARED_BY - 1) + [Blame.DESTINATION] * 3
    assert scope.sharing == SHARED_BY + 2
    verdict = scope.failed(0, 50, 50)
    assert (verdict.blame, verdict.times, verdict.failures) == (Blame.DESTINATION, 1, 2)


def test_a_success_ends_what_all_shared_once(scope):
    for number in range(SHARED_BY):
        blamed(scope, number, number)
    assert not scope.succeeded(["y"], -1, 100), "it began before they failed"
    assert scope.sharing == SHARED_BY
    assert scope.succeeded(["y"], 10, 11)
    assert not scope.succeeded(["z"], 12, 13)
    assert blamed(scope, 0, 14) is Blame.SUBJECT
    assert blamed(scope, "new", 15) is Blame.UNKNOWN


def test_another_bad_minute_is_no_fault_of_those_that_were_in_the_first(scope):
    for number in range(5):
        blamed(scope, number, number)
    scope.succeeded(["y"], 10, 11)
    blames = [blamed(scope, number, 20 + number) for number in range(5)]
    assert blames[SHARED_BY - 1 :] == [Blame.DOUBTFUL] * 3
    assert [blamed(scope, f"new {number}", 30 + number) for number in range(3)] == [
        Blame.DOUBTFUL,
        Blame.DOUBTFUL,
        Blame.DESTINATION,
    ]
    verdict = scope.failed(4, 40, 40)
    assert (verdict.blame, verdict.times, verdict.failures) == (Blame.DESTINATION, 0, 3)


def test_several_odd_ones_are_no_fault_of_the_destination(scope):
    """As long as others succeed between; in the end each of them has been blamed often."""
    odd = range(8)
    for time in range(0, 200, 20):
        blames = [blamed(scope, number, time + number) for number in odd]
        if time:
            assert Blame.DESTINATION not in blames
        assert not scope.succeeded(["y"], time + 18, time + 19) or not time
        odd = [*odd[2:], *odd[:2]]
    assert min(scope.failed(number, 300, 300).times for number in odd) >= 2


def test_several_odd_ones_on_a_quiet_site_are_found_by_the_few_that_succeed(scope):
    for number in range(8):
        blamed(scope, number, number)
    for time in (100, 200, 300):
        assert scope.succeeded(["y"], time, time)
        blames = [blamed(scope, number, time + 1 + number) for number in range(8)]
        expected = Blame.DOUBTFUL if time < 300 else Blame.SUBJECT
        assert blames == [Blame.SUBJECT] * (SHARED_BY - 1) + [expected] * 6
    scope.failed(7, 400, 400)
    assert scope._histories[7].outlived == OUTLIVED, "it is the same success"


def test_what_fails_again_and_again_after_one_success_is_doubtful(scope):
    for time in (0, 50):
        for number in range(8):
            blamed(scope, number, time + number)
        scope.succeeded(["y"], 20, 21)
    for time in range(100, 200, 10):
        assert blamed(scope, time % 8, time) is not Blame.DESTINATION
    assert blamed(scope, 7, 300) is Blame.DOUBTFUL


def test_a_success_ends_what_several_were_suspected_of_for_long(scope):
    for number in range(5):
        blamed(scope, number, number)
    assert scope.succeeded(["y"], 10, 11)
    for number in range(5):
        blamed(scope, number, 20 + number)
    assert not scope.succeeded(["y"], 30, 31), "it has just begun"
    for number in range(5):
        blamed(scope, number, 40 + number)
    assert scope.succeeded(["y"], 40 + SUSPECTED_FOR, 41 + SUSPECTED_FOR)
    blamed(scope, 1, 200)
    assert not scope.succeeded(["y"], 300, 301), "one alone"


def test_what_failed_one_by_one_in_one_answer_is_judged_together(scope):
    verdicts = scope.failed_each(range(SHARED_BY), 1, 1)
    assert {one.blame for one in verdicts} == {Blame.DESTINATION}
    scope.succeeded(["y"], 2, 3)
    verdicts = scope.failed_each(range(SHARED_BY), 4, 4)
    assert [(one.blame, one.times) for one in verdicts] == [(Blame.DOUBTFUL, 0)] * SHARED_BY
    scope.succeeded(["y"], 5, 6)
    assert {one.blame for one in scope.failed_each([0, 1], 7, 7)} == {Blame.SUBJECT}


def test_one_that_succeeds_begins_anew(scope):
    blamed(scope, "x", 1)
    scope.succeeded(["y"], 2, 3)
    assert scope.failed("x", 4, 4).times == 2
    scope.succeeded(["x"], 5, 6)
    verdict = scope.failed("x", 7, 7)
    assert (verdict.blame, verdict.times) == (Blame.UNKNOWN, 1)


def test_which_of_several_is_at_fault_shows_when_they_are_tried_apart(scope):
    assert not scope.failed_together(["x", "y"], 1)
    scope.succeeded(["y"], 2, 3)
    assert blamed(scope, "x", 4) is Blame.SUBJECT
    for number in range(SHARED_BY):
        blamed(scope, number, 5)
    assert scope.failed_together(["z", "w"], 6)


def test_a_success_that_began_before_a_fault_blames_none_that_were_in_it(scope):
    """A proxy is reloaded; what was on its way meanwhile succeeds."""
    assert not scope.failed_together(["x", "y"], 1)
    scope.succeeded(["z"], 0, 2)
    assert scope.failed("x", 3, 3).blame is Blame.UNKNOWN
    scope.succeeded(["z"], 3.5, 4)
    assert scope.failed("x", 5, 5).blame is Blame.SUBJECT


def test_what_failed_together_while_another_request_succeeded_may_share_its_fault(scope):
    scope.failed_together(range(SHARED_BY), 1)
    scope.succeeded(["z"], 0, 2)
    blames = [blamed(scope, number, 3 + number) for number in range(SHARED_BY)]
    assert blames == [Blame.UNKNOWN] * (SHARED_BY - 1) + [Blame.DESTINATION]


def test_no_more_are_remembered_than_a_bound(scope, monkeypatch):
    monkeypatch.setattr(module, "MOST_SUBJECTS", 10)
    for number in range(100):
        scope.failed(number, number, number)
        scope.failed_together([f"{number}a", f"{number}b"], number)
    assert scope.sharing == 10
    assert len(scope._histories) == 10


def test_a_few_failures_since_the_start_are_final_with_those_of_before(scope):
    """Where others succeed; where nothing else was tried, nobody knows what those were for."""
    verdicts = [scope.failed("x", number, number) for number in range(18)]
    assert [one.is_final(16, 16, 3) for one in verdicts] == [False] * 15 + [True] * 3
    assert not any(one.is_final(15, 16, 3) for one in verdicts)
    scope.succeeded(["y"], 18, 18)
    assert scope.failed("x", 19, 19).is_final(16, 16, 3)
    fresh = FaultScope()
    fresh.failed("x", 0, 0)
    fresh.succeeded(["y"], 1, 1)
    judged = [fresh.failed("x", number, number) for number in (2, 3, 4)]
    assert [one.is_final(16, 16, 3) for one in judged] == [False, True, True]
    assert verdicts[0].is_final(1, 1, 3), "it may not fail at all"
    assert not verdicts[3].is_final(99, float("inf"), 3)


@pytest.mark.parametrize("part", [0.2, 0.5, 0.8, 0.9])
def test_what_is_refused_by_chance_is_not_blamed(scope, part):
    """Whatever part of all requests something refuses; and one that is always refused is found."""
    chance, now = random.Random(int(part * 10)), 0.0
    open_ones, final = dict.fromkeys(range(3000), 0), set()
    open_ones["bad"] = 0
    while len(open_ones) > 1 or "bad" not in final:
        for subject in [*open_ones][:20]:  # so many side by side, those that failed come last
            now += 0.05 if len(open_ones) > 20 else 30
            attempts = open_ones.pop(subject) + 1
            if subject != "bad" and chance.random() >= part:
                scope.succeeded([subject], now, now)
                continue
            if scope.failed(subject, now, now).is_final(attempts, 4, 3):
                final.add(subject)
            if subject not in final:
                open_ones[subject] = attempts
        if "bad" in final and not open_ones:
            break
    assert final == {"bad"}


def test_a_bad_minute_is_no_chance(scope):
    for number in range(50):
        blamed(scope, number, number)
    for number in range(50):
        scope.succeeded([number], 60 + number, 60 + number)
    blamed(scope, "x", 110)
    scope.succeeded(["y"], 111, 111)
    verdicts = [scope.failed("x", at, at) for at in (112, 120, 130)]
    assert verdicts[-1].is_final(4, 4, 3)


def test_chance_is_forgotten(scope):
    for number in range(0, 100, 2):
        blamed(scope, number, number)
        scope.succeeded([number], number + 1, number + 1)
    assert scope.failed("x", 100, 100).by_chance > 10
    later = 100 + 8 * module.FORGOTTEN_IN
    assert scope.failed("x", later, later).by_chance == 0
