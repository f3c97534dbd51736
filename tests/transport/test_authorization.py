"""What every request to an account's store carries."""

from __future__ import annotations

import pytest

from orthanc_gcp.transport.authorization import Authorization, fits_a_header


def test_the_headers():
    assert Authorization("ya29.x").headers() == {"Authorization": "Bearer ya29.x"}
    assert Authorization("ya29.x", "project-1").headers() == {
        "Authorization": "Bearer ya29.x",
        "x-goog-user-project": "project-1",
    }


def test_the_token_is_not_shown():
    assert "ya29" not in repr(Authorization("ya29.x", "project-1"))


@pytest.mark.parametrize("token", ["ya29.a0AfB_byC-d~e+f/g==", "eyJh.eyJp.c2ln"])
def test_what_fits_a_header(token):
    assert fits_a_header(token)


@pytest.mark.parametrize("token", ["", " ", "a b", "a\r\nX: 1", "a\n", "\0", "é", "\x7f"])
def test_what_does_not(token):
    assert not fits_a_header(token)
