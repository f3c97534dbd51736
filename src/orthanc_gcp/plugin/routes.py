"""``/gcp`` in Orthanc's REST API: the accounts and their transfers, and what to do with them.

The connector answers what is about an account's token, the worker what is about its transfers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from orthanc_gcp.auth.account_state import TokenState
from orthanc_gcp.errors import WorkerUnavailableError
from orthanc_gcp.plugin.background_checks import AT_ONCE, TooManyChecksError
from orthanc_gcp.plugin.caller import LARGEST, with_user
from orthanc_gcp.plugin.same_origin import is_foreign

if TYPE_CHECKING:
    from orthanc_gcp.connector.connector import Connector, ConnectorStatus
    from orthanc_gcp.doctor.findings import Finding
    from orthanc_gcp.plugin.background_checks import BackgroundChecks
    from orthanc_gcp.plugin.demanded import DemandedWorker
    from orthanc_gcp.plugin.gateway_client import GatewayClient, NoGateway
    from orthanc_gcp.plugin.unattended import Unattended
    from orthanc_gcp.plugin.worker_client import WorkerClient

__all__ = [
    "CONNECTOR_ROUTES",
    "FAILED",
    "GATEWAY_ROUTES",
    "WORKER_ROUTES",
    "Answer",
    "from_connector",
    "from_gateway",
    "from_worker",
    "refusal_of",
]

CONNECTOR_ROUTES = (
    r"/gcp/accounts",
    r"/gcp/accounts/([^/]+)",
    r"/gcp/accounts/([^/]+)/(refresh|check)",
)
_OF_ACCOUNT = (
    *("transfers", "studies", "series", "instances", "receipt", "send", "retry", "pause", "resume"),
    *("retrieve", "retrievals", "prefetch", "quarantine", "dismiss", "losses", "history"),
)
WORKER_ROUTES = (
    r"/gcp/(transfers|activity)",
    rf"/gcp/(accounts)/([^/]+)/({'|'.join(_OF_ACCOUNT)})",
    r"/gcp/(accounts)/([^/]+)/(losses)/(acknowledge)",
    r"/gcp/(backfill)/(pause|resume)",
)
GATEWAY_ROUTES = (r"/gcp/gateway",)
_BY_USER = ("dismiss", "acknowledge")
"""What is written down with who has done it."""
_POST = ("refresh", "check", "send", "retry", "pause", "resume", "retrieve", "prefetch", *_BY_USER)


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


def refusal_of(method: str, headers: Mapping[str, str]) -> Answer | None:
    """What is answered to a page of another origin that would change something."""
    if method == "GET" or not is_foreign(headers):
        return None
    return _error(403, "a page of another origin may change nothing here: ask as a program does")


def from_connector(
    connector: Connector | None,
    method: str,
    groups: tuple[str, ...],
    body: bytes = b"",
    checks: BackgroundChecks | None = None,
) -> Answer:
    """What the connector answers.

    Parameters
    ----------
    groups
        Those of the route: account, action.
    checks
        Those that run while nobody waits; None where all are waited for.
    """
    name, action = (*groups, "", "")[:2]
    allowed = (_allowed(action), "GET") if action == "check" else (_allowed(action),)
    if method not in allowed:
        return Answer(405, allow=",".join(allowed))
    if connector is None:
        return _error(503, "the connector is still starting, or could not: see Orthanc's log")
    if not name:
        return Answer(200, [_shown(connector, name) for name in connector.accounts])
    if name not in connector.accounts:
        return _error(404, f"there is no account {name}, or its configuration has an error")
    if action == "check":
        return _check(connector, name, method, body, checks)
    if action == "refresh":
        return _too_often(connector, name) or _refreshed(connector.refresh(name))
    return Answer(200, _shown(connector, name))


def from_worker(
    worker: WorkerClient | DemandedWorker | Unattended | None,
    method: str,
    groups: tuple[str, ...],
    query: Mapping[str, str],
    body: bytes,
    user: str = "",
) -> Answer:
    """What the worker answers; ``groups`` are those of the route: its path below ``/gcp``.

    Parameters
    ----------
    user
        Who asks, as Orthanc has made sure of; empty where it has not.
    """
    allowed = _allowed(groups[-1])
    if method != allowed:
        return Answer(405, allow=allowed)
    if worker is None:
        return _error(
            503, "there is no worker: the configuration has no rule in Send, or see Orthanc's log"
        )
    try:
        if groups[-1] in _BY_USER:
            body = with_user(body, user)
        return Answer(*worker.call(method, groups, _decoded(query), body))
    except WorkerUnavailableError as error:
        return _error(503, str(error))


def _decoded(query: Mapping[str, str]) -> dict[str, str]:
    """The parameters without percent-encoding (RFC 3986 section 2.1).

    Orthanc 1.10 and 1.12 give them to plugins as they were written, 1.13 decodes them. None that a
    route knows has a percent sign in it, so that what is decoded already stays as it is.
    """
    return {unquote(name): unquote(value) for name, value in query.items()}


def from_gateway(gateway: GatewayClient | NoGateway | None, method: str) -> Answer:
    """The status of the gateway that this Orthanc has started."""
    if method != "GET":
        return Answer(405, allow="GET")
    if gateway is None:
        return _error(404, "this Orthanc starts no gateway: its configuration asks for none")
    return Answer(200, gateway.status())


def _allowed(action: str) -> str:
    return "POST" if action in _POST else "GET"


def _shown(connector: Connector, name: str) -> dict[str, Any]:
    """The state of an account; with the remedy, while it fails."""
    status = connector.status(name)
    body = status.as_json()
    if status.token.state is TokenState.FAILING and body["LastError"] is not None:
        from orthanc_gcp.doctor import remedy_of_failure  # only while something is wrong

        body["LastError"]["Remedy"] = remedy_of_failure(
            name,
            connector.failure(name),
            connector.settings,
            connector.transport,
            connector.clock,
        )
    return body


def _too_often(connector: Connector, name: str) -> Answer | None:
    if wait := connector.wait_for_demand(name):
        return _error(429, f"Google was asked for {name} too often: try again in {wait:.0f} s")
    return None


def _check(
    connector: Connector, name: str, method: str, body: bytes, checks: BackgroundChecks | None
) -> Answer:
    if method == "GET":
        return _lines_of(checks, name)
    asynchronous = _is_asynchronous(body)
    if asynchronous is None:
        return _error(400, "Asynchronous: expected true or false")
    if checks is None or not asynchronous:
        return _too_often(connector, name) or _checked(connector, name, checks)
    if checks.is_running(name):
        return _lines_of(checks, name)
    return _too_often(connector, name) or _begun(connector, name, checks)


def _is_asynchronous(body: bytes) -> bool | None:
    """Whether nobody waits for the answer, as Orthanc's REST API names it; None of other values."""
    try:
        wanted = json.loads(body or b"{}") if len(body) <= LARGEST else None
    except (ValueError, RecursionError):
        return False  # whatever was sent with it before there was a choice
    found = wanted.get("Asynchronous", False) if isinstance(wanted, dict) else False
    return found if isinstance(found, bool) else None


def _lines_of(checks: BackgroundChecks | None, name: str) -> Answer:
    found = None if checks is None else checks.lines_of(name)
    if found is None:
        return _error(404, f"no check of {name} was begun lately for which nobody waits")
    return Answer(200, found)


def _begun(connector: Connector, name: str, checks: BackgroundChecks) -> Answer:
    try:
        checks.begin(name, partial(_findings, connector, name))
    except TooManyChecksError:
        return _error(429, f"{AT_ONCE} checks run already: try again when one has ended")
    return _lines_of(checks, name)


def _findings(connector: Connector, name: str) -> Iterator[Finding]:
    from orthanc_gcp.doctor import check_account  # only the one who asks pays for the import

    return check_account(name, connector.settings, connector.transport, connector.clock)


def _checked(connector: Connector, name: str, checks: BackgroundChecks | None) -> Answer:
    of_account = partial(_findings, connector, name)
    lines = (
        [finding.as_json() for finding in of_account()]
        if checks is None
        else checks.wait_for(of_account)
    )
    if lines is None:
        return _error(503, "Orthanc is stopping")
    passed = not any(line["Result"] == "failed" for line in lines)
    return Answer(200, {"Account": name, "Passed": passed, "Checks": lines})


def _refreshed(status: ConnectorStatus) -> Answer:
    """A new token, or why there is none: the token endpoint is the gateway's other side.

    RFC 9110 §15.6.3 and §15.6.5: it refused (502), or has not answered yet (504).
    """
    if status.token.state is TokenState.FAILING:
        return Answer(502, status.as_json())
    return Answer(504 if status.token.next_try is None else 200, status.as_json())


def _error(status: int, message: str) -> Answer:
    return Answer(status, {"HttpStatus": status, "Message": message})


FAILED = _error(500, "this failed unexpectedly: see Orthanc's log")
