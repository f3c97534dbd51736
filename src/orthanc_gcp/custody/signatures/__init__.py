"""Receipts that are signed: their canonical form, the ledger's key, and what a signature shows."""
