"""How long, and which chances: ``make torture N=1000 SEED=1``."""

from __future__ import annotations

import os
import random

import pytest


@pytest.fixture
def blows() -> int:
    """How many times something is killed or made to fail."""
    return int(os.environ.get("TORTURE_N") or 100)


@pytest.fixture
def seed() -> int:
    return int(os.environ.get("TORTURE_SEED") or random.SystemRandom().randrange(10**6))
