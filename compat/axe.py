"""What axe-core says of a page."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

__all__ = ["judge"]


def judge(page: Page, axe: str) -> list[Any]:
    """Return what violates a rule, and what axe could not decide."""
    page.evaluate(axe)
    result = page.evaluate("axe.run()")
    assert len(result["passes"]) > 10
    return [
        (one["id"], node["html"], node.get("failureSummary"))
        for one in (*result["violations"], *result["incomplete"])
        for node in one["nodes"]
    ]
