"""The webhook: alerts, sent to the address that the configuration names.

Requests are signed as the Standard Webhooks specification 1.0.0 says, sections "Webhook headers"
and "Signature scheme". Its Python library is not used: signing is one HMAC, and it would bring
httpx and attrs into the worker, which already has an HTTP client of its own.
"""

from __future__ import annotations

import base64
import hmac
import logging
import threading
from collections.abc import Callable, Iterable

from orthanc_gcp.clock import Clock
from orthanc_gcp.configuration import Settings
from orthanc_gcp.custody.reporting.alerts import Alerts
from orthanc_gcp.custody.reporting.overview import AccountOverview
from orthanc_gcp.errors import WebhookError
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.outages import Outage
from orthanc_gcp.transport.request import Transport
from orthanc_gcp.worker.attempts import Attempts

__all__ = ["Webhook", "signature"]

_log = logging.getLogger(__name__)

CHECK_EVERY = 3.0
"""Seconds between two checks whether there is something to send."""
_TIMEOUT = 10.0


class Webhook:
    """Reports what changes in the overview, on a thread of its own.

    Parameters
    ----------
    overview
        How far each account is.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        overview: Callable[[], Iterable[AccountOverview]],
        attempts: Attempts,
        clock: Clock,
    ) -> None:
        self._url, self._key = settings.section.webhook, settings.section.webhook_secret
        self._overview, self._clock = overview, clock
        self._attempts = attempts
        # Never verbose: such an address is often a secret in itself.
        self._transport = Transport(
            _TIMEOUT,
            ca_certificates=settings.ca_certificates,
            verify=settings.orthanc.https_verify_peers,
            proxy=settings.orthanc.http_proxy,
            clock=clock,
        )
        outage = Outage(_log, "the webhook cannot be sent", "the webhook is sent again", clock)
        self._alerts = Alerts(
            ledger, settings.section.webhook_backlog_age_seconds, self._post, outage
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gcp-webhook", daemon=True)

    def start(self) -> None:
        """Report from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Report no more; a request that hangs is left behind."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(CHECK_EVERY):
            self._attempts.make("send the webhook", self._check, CHECK_EVERY, (0.0, 0.0))

    def _check(self) -> bool:
        self._alerts.report_changes(self._overview())
        return True

    def _post(self, identifier: str, document: bytes) -> None:
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
