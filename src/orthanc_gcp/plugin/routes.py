"""``/gcp/accounts`` in Orthanc's REST API: what the accounts do, and two things to do with them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orthanc_gcp.connector import Connector

__all__ = ["ROUTES", "Answer", "answer"]

ROUTES = (r"/gcp/accounts", r"/gcp/accounts/([^/]+)", r"/gcp/accounts/([^/]+)/(refresh|check)")


@dataclass(frozen=True)
class Answer:
    """An HTTP status and a JSON body, or the methods that would be allowed."""

    status: int
    body: Any = None
    allow: str = ""

    @property
    def text(self) -> str:
        """The body as it is sent."""
        return json.dumps(self.body, indent=2) + "\n"


def answer(connector: Connector | None, method: str, groups: tuple[str, ...]) -> Answer:
    """Answer a request; ``groups`` are those of the route: account, action."""
    allowed = "POST" if len(groups) == 2 else "GET"
    if method != allowed:
        return Answer(405, allow=allowed)
    if connector is None:
        return _error(503, "the connector is still starting, or could not: see Orthanc's log")
    if not groups:
        return Answer(200, [connector.status(name) for name in connector.accounts])
    name, action = groups[0], groups[1] if len(groups) == 2 else ""
    if name not in connector.accounts:
        return _error(404, f"there is no account {name}, or its configuration has an error")
    if action == "refresh":
        return _refreshed(connector.refresh(name))
    if action == "check":
        findings = list(connector.check(name))
        passed = not any(finding.result.value == "failed" for finding in findings)
        checks = [finding.as_json() for finding in findings]
        return Answer(200, {"Account": name, "Passed": passed, "Checks": checks})
    return Answer(200, connector.status(name))


def _refreshed(status: dict[str, Any]) -> Answer:
    """A new token, or why there is none: the token endpoint is the gateway's other side."""
    if status["State"] == "failing":
        return Answer(502, status)
    return Answer(504 if status["NextTry"] is None else 200, status)


def _error(status: int, message: str) -> Answer:
    return Answer(status, {"HttpStatus": status, "Message": message})
