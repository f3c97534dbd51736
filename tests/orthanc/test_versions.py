"""Versions as Orthanc, its plugins and distributions write them."""

from __future__ import annotations

import pytest

from orthanc_gcp.orthanc.versions import MAINLINE, parse_version


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1.12.7", (1, 12, 7)),
        ("1.10.1+dfsg", (1, 10, 1)),
        ("1.12.7+dfsg-2~bpo12+1", (1, 12, 7)),
        ("1.0", (1, 0)),
        ("1", (1,)),
        ("1.12.", (1, 12)),
        ("mainline", MAINLINE),
        ("mainline-4f2c1d", MAINLINE),
        ("", None),
        ("v1.2", None),
        ("unknown", None),
    ],
)
def test_a_version_has_these_numbers(text, numbers):
    assert parse_version(text) == numbers


def test_the_development_branch_is_newer_than_any_release():
    assert MAINLINE > (1, 12, 10) > (1, 12, 7) > (1, 9)
