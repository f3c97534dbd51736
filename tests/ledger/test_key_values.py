"""Values under names, which all workers and people see."""

from __future__ import annotations

import threading


def test_a_value_is_kept_and_replaced(ledger):
    assert ledger.key_values.get("x", list) is None
    ledger.key_values.set("x", {"a": 1})
    ledger.key_values.set("x", [2])
    assert ledger.key_values.get("x", list) == [2]
    assert ledger.key_values.change("x", list, lambda before: [*before, 3]) == [2, 3]


def test_all_names_that_begin_so(ledger):
    for name in ("paused:a", "paused:b", "paused_c", "other"):
        ledger.key_values.set(name, True)
    assert ledger.key_values.starting_with("paused:") == {"paused:a": True, "paused:b": True}
    assert ledger.key_values.starting_with("paused_") == {"paused_c": True}


def test_a_name_that_was_deleted_has_nothing(ledger):
    ledger.key_values.set("x", 1.5)
    ledger.key_values.delete("x")
    assert ledger.key_values.get("x", float) is None


def test_a_value_of_another_kind_counts_as_none(ledger, caplog):
    ledger.key_values.set("x", [1])
    assert ledger.key_values.get("x", dict) is None
    assert ledger.key_values.get("x", dict) is None
    assert caplog.text.count("'x' of gcp_key_values is no dict") == 1
    ledger.key_values.set("n", 7)
    assert ledger.key_values.get("n", float) == 7, "whole numbers are numbers"
    assert ledger.key_values.change("x", dict, lambda before: {"before": before}) == {
        "before": None
    }


def test_changes_come_one_after_another(ledger):
    def count(before):
        return (before or 0) + 1

    def change():
        for _ in range(20):
            ledger.key_values.change("n", float, count)

    threads = [threading.Thread(target=change) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.key_values.get("n", float) == 80
