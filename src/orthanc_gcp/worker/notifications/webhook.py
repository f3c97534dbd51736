"""The webhook: documents, posted to the address that the configuration names.

Requests are signed as the Standard Webhooks specification 1.0.0 says, sections "Webhook headers"
and "Signature scheme". Its Python library is not used: signing is one HMAC, and it would bring
httpx and attrs into the worker, which already has an HTTP client of its own.
"""

from __future__ import annotations

import base64
import hmac

from orthanc_gcp.clock import Clock
from orthanc_gcp.configuration import Settings
from orthanc_gcp.errors import WebhookError
from orthanc_gcp.transport.request import Transport

__all__ = ["Webhook", "signature"]

TIMEOUT = 30.0
"""Seconds for all of a request, such as to a function that is started for it."""


class Webhook:
    """Posts documents to the address that the configuration names."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._url, self._key = settings.section.webhook, settings.section.webhook_secret
        self._clock = clock
        # Never verbose: such an address is often a secret in itself.
        self._transport = Transport(
            TIMEOUT,
            ca_certificates=settings.ca_certificates,
            verify=settings.orthanc.https_verify_peers,
            proxy=settings.orthanc.http_proxy,
            clock=clock,
        )

    def post(self, identifier: str, document: bytes) -> None:
        """Post a JSON document under an id.

        Raises
        ------
        WebhookError
            The server answered that it does not take it.
        NetworkError
            No answer came.
        """
        moment = int(self._clock.utc().timestamp())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": identifier,
            "webhook-timestamp": str(moment),
        }
        if self._key:
            headers["webhook-signature"] = signature(self._key, identifier, moment, document)
        answer = self._transport(self._url, "POST", document, headers)
        if not 200 <= answer.status < 300:
            raise WebhookError(f"it answered {answer.status}", status=answer.status)


def signature(key: bytes, identifier: str, moment: int, document: bytes) -> str:
    """What shows that a document comes from who knows the key, and when it was sent.

    Parameters
    ----------
    moment
        Seconds since 1970, of this very request: one that is sent again is signed again.
    """
    signed = f"{identifier}.{moment}.".encode() + document
    return f"v1,{base64.b64encode(hmac.digest(key, signed, 'sha256')).decode()}"
