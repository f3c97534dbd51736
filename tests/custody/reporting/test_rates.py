"""A rate is the mean of the last minute."""

from __future__ import annotations

from orthanc_gcp.custody.reporting.counts import Amount
from orthanc_gcp.custody.reporting.rates import ConfirmationRate


def rate_of(*marks):
    rate = ConfirmationRate()
    for moment, instances in marks:
        rate.mark(moment, Amount(instances, instances * 1000))
    return rate


def test_one_mark_is_no_rate():
    rate = rate_of((0, 100))
    assert (rate.instances, rate.bytes) == (0, 0)
    assert rate.end(0, Amount(1, 1)) is None


def test_it_is_the_mean():
    rate = rate_of((0, 0), (5, 0), (10, 30))
    assert (rate.instances, rate.bytes) == (3, 3000)


def test_what_is_older_than_a_minute_does_not_count():
    assert rate_of((0, 0), (10, 1000), (71, 1061)).instances == 1


def test_looks_in_quick_succession_do_not_push_out_older_ones():
    rate = rate_of((0, 0), *((10 + number / 1000, number) for number in range(500)))
    assert rate.instances == 499 / 10.499


def test_a_clock_that_was_set_back_or_a_total_that_fell_begins_anew():
    assert rate_of((100, 0), (110, 50), (50, 60)).instances == 0
    assert rate_of((100, 50), (110, 60), (120, 10), (130, 20)).instances == 1


def test_the_end_is_that_of_whatever_takes_longer():
    rate = rate_of((0, 0), (10, 10))  # 1 instance, 1000 bytes a second
    assert rate.end(10, Amount(60, 1000)) == 70
    assert rate.end(10, Amount(60, 120_000)) == 130
    assert rate.end(10, Amount()) is None
