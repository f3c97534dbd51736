"""When a token is renewed, and how long to wait when that failed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthanc_gcp.auth.token import LONGEST_MARGIN, Token, refresh_margin, retry_delay

LIFETIMES = st.one_of(st.floats(5, 60), st.floats(60, 3600), st.floats(3600, 43200))


@given(LIFETIMES)
def test_the_margin_grows_with_the_lifetime(lifetime):
    assert lifetime / 50 < refresh_margin(lifetime) <= lifetime / 2
    assert refresh_margin(lifetime) <= refresh_margin(lifetime * 2)


@pytest.mark.parametrize(("jitter", "ahead"), [(0.0, LONGEST_MARGIN), (1.0, LONGEST_MARGIN * 1.1)])
def test_a_token_is_renewed_ahead_of_its_end(jitter, ahead):
    assert Token("x", 5000.0, 3600.0).renew_at(jitter) == pytest.approx(5000.0 - ahead)


def test_a_token_of_a_moment_is_not_renewed_at_once():
    assert Token("x", 100.1, 0.1).renew_at(1.0) == pytest.approx(100.2)


@given(st.floats(0, 60), st.none() | LIFETIMES, st.floats(0, 1))
def test_delays_are_bounded(previous, lifetime, jitter):
    token = None if lifetime is None else Token("x", 0, lifetime)
    delay = retry_delay(previous, token, lambda: jitter)
    assert 0.1 <= delay <= 60
    if previous <= 1:
        assert delay <= 2


def test_a_token_that_still_lives_shortens_the_delay():
    assert retry_delay(30.0, None, lambda: 1.0) == 60.0
    assert retry_delay(30.0, Token("x", 0, 100.0), lambda: 1.0) == 5.0


def test_the_token_is_not_shown():
    assert "secret" not in repr(Token("secret", 1.0, 1.0))
