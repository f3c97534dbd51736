"""A trial of the files that a test module has as its fixture ``files``."""

from __future__ import annotations

import pytest

from orthanc_gcp.ledger.retrievals.rows import Resource
from tests.retrieval.simulation import Trial, uids_of
from tests.support.ledgers import clock, sqlite_ledger

__all__ = ["clock", "sqlite_ledger"]


@pytest.fixture
def trial(sqlite_ledger, clock, files):
    return Trial(sqlite_ledger, clock, *files)


@pytest.fixture
def study(trial, files):
    (number,) = trial.want(Resource(uids_of(files[0])[0]))
    return number
