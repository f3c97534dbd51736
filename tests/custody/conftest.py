"""Ledgers of both databases."""

from tests.support.ledgers import clock, engine, ledger, postgresql_ledger, sqlite_ledger

__all__ = ["clock", "engine", "ledger", "postgresql_ledger", "sqlite_ledger"]
