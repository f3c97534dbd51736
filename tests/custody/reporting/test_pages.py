"""No page is empty by a mistake, and none is too large."""

from __future__ import annotations

import pytest

from orthanc_gcp.custody.reporting.pages import LARGEST_PAGE, bounded


@pytest.mark.parametrize(
    ("asked", "given"),
    [(-1, 1), (0, 1), (1, 1), (100, 100), (LARGEST_PAGE + 1, LARGEST_PAGE), (10**9, LARGEST_PAGE)],
)
def test_a_page_has_one_at_least_and_not_too_many(asked, given):
    assert bounded(asked) == given
