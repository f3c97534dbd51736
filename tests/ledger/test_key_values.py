"""Values under names, which all workers and people see."""

from __future__ import annotations


def test_a_value_is_kept_and_replaced(ledger):
    assert ledger.key_values.get("x", list) is None
    ledger.key_values.set("x", {"a": 1})
    ledger.key_values.set("x", [2])
    assert ledger.key_values.get("x", list) == [2]
    assert ledger.key_values.change("x", list, lambda before: [*before, 3]) == [2, 3]
