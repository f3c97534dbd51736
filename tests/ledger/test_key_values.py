"""Values under names, which all workers and people see."""

from __future__ import annotations


def test_a_value_is_kept_and_replaced(ledger):
    assert ledger.key_value("x") is None
    ledger.set_key_value("x", {"a": 1})
    ledger.set_key_value("x", [2])
    assert ledger.key_value("x") == [2]
    assert ledger.change_key_value("x", lambda before: [*before, 3]) == [2, 3]
