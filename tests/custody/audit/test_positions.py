"""An audit without a report goes on where the ledger says."""

from __future__ import annotations

import pytest

from orthanc_gcp.custody.audit.positions import Position, Positions, ResumeError
from orthanc_gcp.custody.audit.totals import Totals

SELECTION = {"Study": None, "Bytes": False}


def test_where_it_goes_on(ledger):
    positions = Positions(ledger)
    with pytest.raises(ResumeError, match="none that was broken off"):
        positions.load(SELECTION)
    totals = Totals()
    totals.add_study([{"Study": "1", "Counts": {"Instances": 3, "Missing": 1}, "Missing": [1]}])
    for position in (Position(5000.5, "1.2", totals), Position(5000.5)):
        positions.save(SELECTION, position)
        assert positions.load(SELECTION) == position
    with pytest.raises(ResumeError, match="another selection"):
        positions.load({**SELECTION, "Bytes": True})
    positions.forget()
    with pytest.raises(ResumeError, match="none that was broken off"):
        positions.load(SELECTION)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"Selection": SELECTION},
        {"Selection": SELECTION, "Began": 1, "After": None, "Totals": {}},
        {"Selection": SELECTION, "Began": "2026-01-31", "After": None, "Totals": {}},
        {"Selection": SELECTION, "Began": "2026-01-31", "After": None, "Totals": []},
    ],
)
def test_a_ledger_that_says_nonsense(sqlite_ledger, value):
    sqlite_ledger.key_values.set("audit", value)
    with pytest.raises(ResumeError):
        Positions(sqlite_ledger).load(SELECTION)
