"""What a page lists, against what there is; a failure says which word to add where."""

from __future__ import annotations

from collections.abc import Iterable

import pytest


def assert_same(
    listed: Iterable[str], there: Iterable[str], *, page: str, place: str, source: str
) -> None:
    """See that a page lists all that there is, and nothing else.

    Parameters
    ----------
    page, place
        The file, and where in it, such as ``the table below "## Rules"``.
    source
        The file of the code that says what there is.
    """
    listed, there = set(listed), set(there)
    words = [f"add `{one}` to {page}, {place}" for one in sorted(there - listed)]
    words += [f"take `{one}` out of {page}, {place}" for one in sorted(listed - there)]
    if words:
        pytest.fail("\n".join([*words, f"({source} says what there is)"]), pytrace=False)
