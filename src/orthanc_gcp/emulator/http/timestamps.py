"""Moments as Google writes them."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import formatdate

__all__ = ["rfc1123", "timestamp"]


def timestamp(seconds: float) -> str:
    """Return a moment, in seconds since 1970, as Google's JSON has it (RFC 3339)."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def rfc1123(seconds: float) -> str:
    """Return a moment, in seconds since 1970, as notifications have it (RFC 1123, with "UTC")."""
    return formatdate(seconds, usegmt=True).replace("GMT", "UTC")
