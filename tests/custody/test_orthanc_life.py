"""The life of Orthancs, by chance: what was received ends in the store, or something is said.

The real ledger, the real parts of a worker and the real emulator, a step at a time, by a clock
that is set. Only Orthanc is simulated, as one of its steps would cost seconds: by its answers,
which ``tests/orthanc/test_simulated_orthanc.py`` compares with a real one's. ``make torture``
makes more of these lives, and longer ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from orthanc_gcp.emulator.server import Emulator, Options
from tests.support.orthanc_life import OrthancLife

LIVES, STEPS = 40, 40


@pytest.fixture(scope="module", autouse=True)
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One for all lives: each has a store of its own."""
    folder: Path = tmp_path_factory.mktemp("emulator")
    with Emulator(Options(folder)) as emulator:
        OrthancLife.emulator, OrthancLife.emulator_folder = emulator, folder
        yield


TestOrthancLife = OrthancLife.TestCase
TestOrthancLife.settings = settings(
    max_examples=LIVES,
    stateful_step_count=STEPS,
    deadline=None,
    derandomize=True,
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate,),
    print_blob=True,
)
