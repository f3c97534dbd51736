"""A client of one subscription of Pub/Sub (REST reference, ``projects.subscriptions``)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from orthanc_gcp.clock import Clock
from orthanc_gcp.configuration import Settings
from orthanc_gcp.configuration.options import PUBSUB_SCOPES
from orthanc_gcp.dicomweb.error_response import retry_after
from orthanc_gcp.error_text import classified
from orthanc_gcp.errors import NetworkError, SubscriptionError
from orthanc_gcp.reasons import ApiReason, NetworkFault, StoreReason
from orthanc_gcp.transport.authorization import Authorization
from orthanc_gcp.transport.google_error import read_google_error
from orthanc_gcp.transport.refusals import Refusal, Refusals
from orthanc_gcp.transport.request import Answer, Transport

__all__ = ["CONSUME", "Subscription", "pubsub_transport", "pubsub_url"]

CONSUME = "pubsub.subscriptions.consume"
"""The permission that pulling takes; it is in ``roles/pubsub.subscriber``."""
_GOOGLE = "https://pubsub.googleapis.com"
ANSWER_WITHIN = 25.0
"""Seconds: a pull without a message may wait for longer than that, which is no error."""
SETTLED_WITHIN = 10.0
"""Seconds for all others."""
LONGEST_ANSWER = 24 * 1024 * 1024
"""Bytes: one message has 10 MB at most, in Base64 a third more ("Quotas and limits")."""

_BY_STATUS = {
    400: Refusal(StoreReason.BAD_REQUEST, False, "the request is not to its liking"),
    401: Refusal(
        StoreReason.UNAUTHORIZED, True, "the access token was refused, a new one is needed"
    ),
    403: Refusal(
        StoreReason.FORBIDDEN,
        False,
        "it does not exist, or the account may not pull it: grant roles/pubsub.subscriber on it",
    ),
    404: Refusal(
        StoreReason.NOT_FOUND,
        False,
        "there is no such subscription: create it, or correct Subscription",
    ),
    408: Refusal(StoreReason.TIMEOUT, True, "the request took too long"),
    429: Refusal(StoreReason.THROTTLED, True, "the quota is used up"),
}
_UNEXPECTED = Refusal(
    StoreReason.PROTOCOL,
    False,
    "this is no answer of Pub/Sub: check BaseUrl and HttpProxy",
)
_BY_DETAIL: dict[str, Refusal] = {
    ApiReason.ACCESS_TOKEN_SCOPE_INSUFFICIENT: Refusal(
        StoreReason.FORBIDDEN,
        False,
        f"the access token lacks the scope of Pub/Sub: add {PUBSUB_SCOPES[0]} to Scopes",
    ),
    ApiReason.SERVICE_DISABLED: Refusal(
        StoreReason.FORBIDDEN,
        False,
        "the Pub/Sub API is disabled in the project: enable it",
    ),
}
_REFUSALS = Refusals(_BY_STATUS, _BY_DETAIL, _UNEXPECTED)


def pubsub_url(settings: Settings) -> str:
    """Who answers for subscriptions: Google, or whoever answers for the stores in its place."""
    return settings.endpoint or _GOOGLE


def pubsub_transport(settings: Settings, clock: Clock) -> Transport:
    """Requests as Orthanc's configuration wants them, whose answers may be as long as messages."""
    return Transport(
        ANSWER_WITHIN,
        ca_certificates=settings.ca_certificates,
        verify=settings.orthanc.https_verify_peers,
        proxy=settings.orthanc.http_proxy,
        verbose=settings.orthanc.http_verbose,
        clock=clock,
        longest_answer=LONGEST_ANSWER,
    )


class Subscription:
    """Pulls and acknowledges messages; several threads may use it at once.

    Nothing is tried again here. Every method raises SubscriptionError when Pub/Sub refuses or gives
    no answer, and what ``authorization`` raises.

    Parameters
    ----------
    url
        Of who answers, without a version.
    name
        ``projects/…/subscriptions/…``.
    authorization
        Gives the access token and the project to bill, anew for each request.
    """

    def __init__(
        self,
        url: str,
        name: str,
        authorization: Callable[[], Authorization],
        transport: Transport,
    ) -> None:
        self.name = name
        self._url = f"{url.rstrip('/')}/v1/{quote(name, safe='/')}"
        self._authorization, self._transport = authorization, transport

    def pull(self, limit: int, *, at_once: bool = False) -> list[Any]:
        """Some ``ReceivedMessage``; none where there was none for a while.

        Parameters
        ----------
        at_once
            Whether to wait for none.
        """
        body = {"maxMessages": limit, **({"returnImmediately": True} if at_once else {})}
        try:
            received = self._call("pull", body).get("receivedMessages") or []
        except SubscriptionError as error:
            cause = error.__cause__
            if isinstance(cause, NetworkError) and cause.fault is NetworkFault.TIMEOUT:
                return []
            raise
        if not isinstance(received, list):
            raise self._error("pull", _UNEXPECTED)
        return received[:limit]  # what is beyond was not asked for, and comes again

    def acknowledge(self, ack_ids: Sequence[str]) -> None:
        """Have these deliveries come no more."""
        self._call("acknowledge", {"ackIds": list(ack_ids)})

    def extend(self, ack_ids: Sequence[str], seconds: int) -> None:
        """Have these deliveries come again only after so many seconds; with 0, at once."""
        body = {"ackIds": list(ack_ids), "ackDeadlineSeconds": seconds}
        self._call("modifyAckDeadline", body)

    def may_consume(self) -> bool:
        """Whether it may be pulled; of one that there is not, Google says no, too."""
        granted = self._call("testIamPermissions", {"permissions": [CONSUME]}).get("permissions")
        return isinstance(granted, list) and CONSUME in granted

    def _call(self, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        authorization = self._authorization()
        headers = {**authorization.headers(), "Content-Type": "application/json"}
        data = json.dumps(body).encode()
        try:
            answer = self._transport(
                f"{self._url}:{verb}",
                "POST",
                data,
                headers,
                ANSWER_WITHIN if verb == "pull" else SETTLED_WITHIN,
            )
        except NetworkError as error:
            raise SubscriptionError(
                f"{self._what(verb)}: {error}", reason=StoreReason.NETWORK, retryable=True
            ) from error
        if answer.status != 200:
            raise self._refusal(verb, answer, authorization.token)
        try:
            found = json.loads(answer.data or b"{}")
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise self._error(verb, _UNEXPECTED)
        return found

    def _what(self, verb: str) -> str:
        return f"{verb} of {self.name}"

    def _refusal(self, verb: str, answer: Answer, token: str) -> SubscriptionError:
        """What a refusal means (AIP-193; RFC 9110 §15)."""
        error = read_google_error(answer.data, [token])
        found = _REFUSALS.judge(answer.status, error.reason)
        said = classified(error.message, self.name.split("/"), [token])
        return self._error(
            verb, found, said, status=answer.status, wait=retry_after(answer.headers)
        )

    def _error(
        self,
        verb: str,
        refusal: Refusal,
        said: str = "",
        *,
        status: int | None = None,
        wait: float | None = None,
    ) -> SubscriptionError:
        reason, retryable, words = refusal
        answered = f"answered {status}: " if status else ""
        return SubscriptionError(
            f"{self._what(verb)}: {answered}{words}" + (f" ({said})" if said else ""),
            reason=reason,
            retryable=retryable,
            status=status,
            retry_after=wait,
        )
