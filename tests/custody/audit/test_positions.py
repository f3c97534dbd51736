"""An audit without a report goes on where the ledger says."""

from __future__ import annotations

import pytest

from orthanc_gcp.custody.audit.positions import Position, Positions, ResumeError
from orthanc_gcp.custody.audit.totals import Totals

SELECTION = {"Study": None, "Bytes": False}
WHAT = {"Selection": SELECTION, "Stores": {"a": "https://h/a"}, "Rules": "0f"}


def test_where_it_goes_on(ledger):
    positions = Positions(ledger)
    with pytest.raises(ResumeError, match="none that was broken off"):
        positions.load(WHAT)
    totals = Totals()
    totals.add_study([{"Study": "1", "Counts": {"Instances": 3, "Missing": 1}, "Missing": [1]}])
    for position in (Position(5000.5, "1.2", totals), Position(5000.5)):
        positions.save(WHAT, position)
        assert positions.load(WHAT) == position
    with pytest.raises(ResumeError, match="another selection"):
        positions.load({**WHAT, "Selection": {**SELECTION, "Bytes": True}})
    for other in {"Stores": {"a": "https://h/b"}}, {"Rules": "1f"}:
        with pytest.raises(ResumeError, match="other stores or rules"):
            positions.load({**WHAT, **other})
    positions.forget_same({**WHAT, "Rules": "1f"})
    assert positions.load(WHAT) == Position(5000.5), "that of another audit stays"
    positions.forget_same(WHAT)
    with pytest.raises(ResumeError, match="none that was broken off"):
        positions.load(WHAT)
    positions.save(WHAT, position)
    positions.forget()
    with pytest.raises(ResumeError, match="none that was broken off"):
        positions.load(WHAT)


@pytest.mark.parametrize(
    "value",
    [
        {},
        WHAT,
        {**WHAT, "Began": 1, "After": None, "Totals": {}},
        {**WHAT, "Began": "2026-01-31", "After": None, "Totals": {}},
        {**WHAT, "Began": "2026-01-31", "After": None, "Totals": []},
    ],
)
def test_a_ledger_that_says_nonsense(sqlite_ledger, value):
    sqlite_ledger.key_values.set("audit", value)
    with pytest.raises(ResumeError):
        Positions(sqlite_ledger).load(WHAT)
