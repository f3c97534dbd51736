"""``/gcp`` in Orthanc's REST API: the accounts and the transfers, and what to do with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orthanc_gcp.errors import WorkerUnavailableError

if TYPE_CHECKING:
    from orthanc_gcp.connector.connector import Connector
    from orthanc_gcp.plugin.worker_client import WorkerClient

__all__ = ["ROUTES", "TRANSFER_ROUTES", "Answer", "answer", "answer_transfers"]

TRANSFER_ROUTES = (
    r"/gcp/(transfers)",
    r"/gcp/(transfers)/([^/]+)",
    r"/gcp/(transfers)/([^/]+)/(studies|instances|receipt|retry|pause|resume)",
    r"/gcp/(accounts)/([^/]+)/(send)",
)
"""Those that the worker answers."""
_DOING = ("retry", "pause", "resume", "send")

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
        from orthanc_gcp.doctor import check_account  # only the one who asks pays for the import

        findings = list(
            check_account(name, connector.settings, connector.transport, connector.clock)
        )
        passed = not any(finding.result.value == "failed" for finding in findings)
        checks = [finding.as_json() for finding in findings]
        return Answer(200, {"Account": name, "Passed": passed, "Checks": checks})
    return Answer(200, connector.status(name))


def answer_transfers(
    custody: WorkerClient | None,
    method: str,
    groups: tuple[str, ...],
    query: Mapping[str, str],
    body: bytes,
) -> Answer:
    """Pass a request on to the worker; ``groups`` are those of the route: its path."""
    allowed = "POST" if groups[-1] in _DOING and len(groups) == 3 else "GET"
    if method != allowed:
        return Answer(405, allow=allowed)
    if custody is None:
        return _error(
            503, "there is no worker: the configuration has no rule in Send, or see Orthanc's log"
        )
    try:
        return Answer(*custody.call(method, groups, query, body))
    except WorkerUnavailableError as error:
        return _error(503, str(error))


def _refreshed(status: dict[str, Any]) -> Answer:
    """A new token, or why there is none: the token endpoint is the gateway's other side."""
    if status["State"] == "failing":
        return Answer(502, status)
    return Answer(504 if status["NextTry"] is None else 200, status)


def _error(status: int, message: str) -> Answer:
    return Answer(status, {"HttpStatus": status, "Message": message})
