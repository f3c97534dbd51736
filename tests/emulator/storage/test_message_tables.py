"""Messages that wait in subscriptions: published, delivered, postponed, acknowledged."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from orthanc_gcp.emulator.storage import message_tables
from orthanc_gcp.emulator.storage.database import Database
from orthanc_gcp.emulator.storage.message_tables import acknowledge, lease, postpone, publish

NOW = 1_700_000_000.0


@pytest.fixture
def sql(database: Database) -> Iterator[sqlite3.Connection]:
    """A transaction with a topic of two subscriptions, one of which keeps messages for a minute."""
    with database.transaction() as connection:
        connection.execute("INSERT INTO topics VALUES ('t', 'p', '{}')")
        for row, retention in ((1, 3600), (2, 60)):
            connection.execute(
                "INSERT INTO subscriptions VALUES (?, ?, 'p', 't', ?, '{}')",
                (row, f"s{row}", retention),
            )
        yield connection


def waiting(sql: sqlite3.Connection, subscription: int, now: float = NOW) -> list[Any]:
    """Return the data of the messages that are due, without a lease of any length."""
    found = lease(sql, subscription, 100, now, now)
    return [delivery.message["data"] for delivery in found]


def test_every_subscription_of_a_topic_gets_a_message(sql: sqlite3.Connection) -> None:
    ids = publish(sql, "t", [{"data": "a"}, {"data": "b"}], NOW)
    assert ids is not None
    assert len(set(ids)) == 2
    assert waiting(sql, 1) == waiting(sql, 2) == ["a", "b"]
    (delivery, _) = lease(sql, 1, 2, NOW, NOW)
    assert delivery.message["messageId"] == ids[0]
    assert delivery.message["publishTime"] == "2023-11-14T22:13:20.000000Z"


def test_without_a_topic_nothing_is_published(sql: sqlite3.Connection) -> None:
    assert publish(sql, "unknown", [{"data": "a"}], NOW) is None
    assert waiting(sql, 1) == []


def test_a_message_is_due_again_after_its_lease(sql: sqlite3.Connection) -> None:
    publish(sql, "t", [{"data": "a"}], NOW)
    (first,) = lease(sql, 1, 10, NOW, NOW + 10)
    assert lease(sql, 1, 10, NOW + 9, NOW + 20) == []
    (again,) = lease(sql, 1, 10, NOW + 10, NOW + 20)
    assert (first.attempt, again.attempt, again.row) == (1, 2, first.row)


def test_only_the_latest_delivery_is_postponed(sql: sqlite3.Connection) -> None:
    publish(sql, "t", [{"data": "a"}], NOW)
    (first,) = lease(sql, 1, 10, NOW, NOW + 10)
    (again,) = lease(sql, 1, 10, NOW + 10, NOW + 20)
    postpone(sql, 1, [(first.row, first.attempt)], 0.0)
    assert waiting(sql, 1, NOW + 15) == []
    postpone(sql, 1, [(again.row, again.attempt)], 0.0)
    assert waiting(sql, 1, NOW + 15) == ["a"]


def test_what_is_acknowledged_is_gone_from_its_subscription(sql: sqlite3.Connection) -> None:
    publish(sql, "t", [{"data": "a"}], NOW)
    (delivery,) = lease(sql, 1, 10, NOW, NOW + 10)
    acknowledge(sql, 2, [(delivery.row, delivery.attempt)])
    acknowledge(sql, 1, [(delivery.row, delivery.attempt)])
    assert waiting(sql, 1, NOW + 10) == []
    assert waiting(sql, 2, NOW + 10) == ["a"]


def test_messages_end_with_the_retention_of_their_subscription(sql: sqlite3.Connection) -> None:
    publish(sql, "t", [{"data": "a"}], NOW)
    assert waiting(sql, 1, NOW + 61) == ["a"]
    assert waiting(sql, 2, NOW + 61) == []


def test_deliveries_are_bounded_by_number_and_by_bytes(
    sql: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(sql, "t", [{"data": "x" * 500} for _ in range(4)], NOW)
    assert len(lease(sql, 1, 3, NOW, NOW)) == 3
    monkeypatch.setattr(message_tables, "MAX_PULLED", 1300)
    assert len(lease(sql, 1, 4, NOW, NOW)) == 2
    monkeypatch.setattr(message_tables, "MAX_PULLED", 10)
    assert len(lease(sql, 1, 4, NOW, NOW)) == 1


def test_the_oldest_messages_go_first(
    sql: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message_tables, "MAX_WAITING", 4)
    publish(sql, "t", [{"data": letter} for letter in "abc"], NOW)
    assert waiting(sql, 1) == waiting(sql, 2) == ["b", "c"]


def test_what_was_acknowledged_does_not_count(
    sql: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(message_tables, "MAX_WAITING", 4)
    publish(sql, "t", [{"data": "old"}], NOW)
    for _ in range(10):
        publish(sql, "t", [{"data": "new"}], NOW)
        for subscription in (1, 2):
            found = lease(sql, subscription, 10, NOW, NOW)
            done = [one for one in found if one.message["data"] == "new"]
            acknowledge(sql, subscription, [(one.row, one.attempt) for one in done])
    assert waiting(sql, 1) == waiting(sql, 2) == ["old"]
    assert caplog.text == ""
    publish(sql, "t", [{"data": "new"}] * 2, NOW)
    assert waiting(sql, 1) == waiting(sql, 2) == ["new", "new"]
    assert "2 messages are lost: more than 4 wait" in caplog.text
