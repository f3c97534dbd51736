"""Many lives of Orthancs by chance, on both databases: as in tests/custody/test_orthanc_life.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as seeded
from hypothesis.stateful import run_state_machine_as_test

from orthanc_gcp.emulator.server import Emulator, Options
from tests.support.orthanc_life import OrthancLife
from tests.support.postgres import Postgres

STEPS = 60


@pytest.mark.parametrize("kind", ["SQLite", "PostgreSQL"])
def test_lives(
    tmp_path: Path, blows: int, seed: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    print(f"\n{blows} lives, seed {seed}, {kind}", flush=True)
    server = Postgres() if kind == "PostgreSQL" else None
    try:
        monkeypatch.setattr(OrthancLife, "database_url", server.url if server else "")
        with Emulator(Options(tmp_path)) as emulator:
            monkeypatch.setattr(OrthancLife, "emulator", emulator, raising=False)
            run_state_machine_as_test(  # type: ignore[no-untyped-call]
                seeded(seed)(OrthancLife),
                settings=settings(
                    max_examples=blows,
                    stateful_step_count=STEPS,
                    deadline=None,
                    database=None,
                    report_multiple_bugs=False,
                    suppress_health_check=list(HealthCheck),
                    phases=(Phase.generate,),
                ),
            )
    finally:
        if server is not None:
            server.remove()
