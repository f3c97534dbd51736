"""A trial of a store that two files are in."""

from __future__ import annotations

import pytest

from tests.retrieval.conftest import trial
from tests.support.ledgers import clock, sqlite_ledger
from tests.support.site import make_study

__all__ = ["clock", "sqlite_ledger", "trial"]


@pytest.fixture
def files():
    return make_study(1, 2, size=16)
