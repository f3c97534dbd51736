"""What an answer to a store transaction says, in JSON."""

from __future__ import annotations

from typing import Any


def stored(body: dict[str, Any]) -> list[str]:
    return [item["00081155"]["Value"][0] for item in body.get("00081199", {}).get("Value", [])]


def failures(body: dict[str, Any]) -> list[str]:
    items = body.get("00081198", {}).get("Value", [])
    assert all(item["00081197"] == {"vr": "US", "Value": [272]} for item in items)
    return [item["00091097"]["Value"][0] for item in items]
