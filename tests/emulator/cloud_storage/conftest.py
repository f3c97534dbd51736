"""Fixtures of the tests of Cloud Storage."""

from __future__ import annotations

from tests.emulator.healthcare.conftest import place

__all__ = ["place"]
