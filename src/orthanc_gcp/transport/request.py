"""The HTTP transport of token requests: Orthanc's CA, proxy and time limit; bounded answers.

It is handed to ``credentials.refresh()`` as google-auth's own transports would be. urllib3 is
used without requests on top of it: inside Orthanc that saves a third of the import time, and only
urllib3 gives a body piece by piece, which a limit on the whole exchange needs.
"""

from __future__ import annotations

import json
import logging
import ssl
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3
from google.auth.transport import Request, Response
from urllib3 import exceptions

from orthanc_gcp.clock import Clock, SystemClock
from orthanc_gcp.configuration import Settings
from orthanc_gcp.error_text import classified, media_type
from orthanc_gcp.errors import NetworkError
from orthanc_gcp.reasons import NetworkFault
from orthanc_gcp.redaction import (
    bare,
    host_of,
    masked_fields,
    masked_form,
    printable,
    secrets_of_form,
)
from orthanc_gcp.transport.connections import Proxy, network_error, pools, proxy_of, tls_context
from orthanc_gcp.transport.deadlines import bound_exchanges

__all__ = ["Answer", "Transport", "transport"]

LONGEST_ANSWER = 1024 * 1024
_PIECE = 64 * 1024

_Way = tuple[str, Proxy | None, tuple[str, str] | None]
"""The scheme, the proxy, and the client's certificate."""

_log = logging.getLogger(__name__)


class Answer(Response):
    """One HTTP answer, in memory."""

    def __init__(self, status: int, headers: Mapping[str, str], data: bytes) -> None:
        self._status, self._headers, self._data = status, headers, data

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._status

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, whatever the case of their names."""
        return self._headers

    @property
    def data(self) -> bytes:
        """The whole body."""
        return self._data


class Transport(Request):
    """Makes one HTTP request at a time per thread, never retries, never follows a redirect.

    Parameters
    ----------
    timeout
        Seconds for one exchange, from the connection to the last byte of the answer.
    ca_certificates
        PEM file of trusted authorities; None for those of the system.
    verify
        False accepts any certificate.
    proxy
        ``host:port`` or a URL; empty for what the environment says (``https_proxy``, …).
    verbose
        Log each exchange, with secrets masked.
    longest_answer
        Bytes of an answer that are kept in memory.
    """

    def __init__(
        self,
        timeout: float = 60,
        *,
        ca_certificates: Path | None = None,
        verify: bool = True,
        proxy: str = "",
        verbose: bool = False,
        clock: Clock | None = None,
        longest_answer: int = LONGEST_ANSWER,
    ) -> None:
        self._timeout, self._longest_answer = timeout, longest_answer
        self._ca_certificates = ca_certificates
        self._verify = verify
        self._proxy = proxy
        self._verbose = verbose
        self._clock = clock or SystemClock()
        self._pools: dict[_Way, urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        cert: tuple[str, str] | None = None,
        **_: Any,
    ) -> Answer:
        """Make a request.

        Raises
        ------
        NetworkError
            No complete answer came; the message names the fault of the network in words.
        """
        limit = min(timeout or self._timeout, self._timeout)
        if not bare(url):
            words = f"{host_of(url)}: this address cannot be read"
            raise NetworkError(words, fault=NetworkFault.ADDRESS)
        if self._verbose:
            _log.warning(
                "%s %s with %s", method, printable(url), _masked_request(body, headers or {})
            )
        try:
            answer = self._exchange(method, url, body, dict(headers or {}), limit, cert)
        except exceptions.HTTPError as error:
            proxy = self.proxy_of(url)
            raise network_error(error, host_of(url), url, limit=limit, proxy=proxy) from None
        if self._verbose:
            words = _masked_answer(answer, secrets_of_form(body))
            _log.warning("%s answered %d %s", printable(url), answer.status, words)
        return answer

    def proxy_of(self, url: str) -> Proxy | None:
        """The proxy that a request takes, if any."""
        return proxy_of(url, self._proxy)

    def _exchange(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: dict[str, str],
        limit: float,
        certificate: tuple[str, str] | None,
    ) -> Answer:
        deadline = self._clock.now() + limit
        response = self._pool(url, certificate).request(
            method,
            url,
            body=body,
            headers={"Accept-Encoding": "identity", **headers},
            timeout=urllib3.Timeout(total=limit, connect=limit, read=limit),
            retries=False,
            redirect=False,
            preload_content=False,
        )
        try:
            data = self._read(response, deadline)
        except BaseException:
            response.close()
            raise
        response.release_conn()
        return Answer(response.status, response.headers, data)

    def _read(self, response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
        data = bytearray()
        while piece := response.read1(_PIECE):
            data += piece
            if len(data) > self._longest_answer:
                raise exceptions.ProtocolError("the answer does not end")
            if self._clock.now() > deadline:
                raise exceptions.TimeoutError
        return bytes(data)

    def _pool(self, url: str, certificate: tuple[str, str] | None) -> urllib3.PoolManager:
        parts = urlsplit(url)
        key = (parts.scheme, self.proxy_of(url), certificate)
        with self._lock:
            if key not in self._pools:
                self._pools[key] = self._new_pool(*key)
            return self._pools[key]

    def _new_pool(
        self, scheme: str, proxy: Proxy | None, certificate: tuple[str, str] | None
    ) -> urllib3.PoolManager:
        tls = None
        if scheme == "https":
            tls = tls_context(self._ca_certificates, verify=self._verify)
            if certificate is not None:
                tls.present(*certificate)
        made = pools(proxy, tls, self._tls, num_pools=32, maxsize=16)
        bound_exchanges(made)
        return made

    def _tls(self) -> ssl.SSLContext:
        return tls_context(self._ca_certificates, verify=self._verify)


def _masked_request(body: bytes | None, headers: Mapping[str, str]) -> str:
    kinds = [value for name, value in headers.items() if name.lower() == "content-type"]
    if body and any("form-urlencoded" in kind for kind in kinds):
        return str(masked_form(body))
    return f"{len(body or b'')} bytes"


def _masked_answer(answer: Answer, secrets: list[str]) -> str:
    try:
        fields = json.loads(answer.data)
    except (ValueError, RecursionError):
        fields = None
    if isinstance(fields, dict):
        return str(masked_fields(fields, lambda text: _shown(text, secrets)))
    kind = media_type(answer.headers.get("Content-Type", ""))
    return f"{len(answer.data)} bytes of {kind or 'an unusual type'}"


def _shown(text: str, secrets: Collection[str]) -> str:
    """What may be seen of a text in an answer: words of errors, and a lifetime in seconds."""
    lifetime = text.isdecimal() and len(text) <= len("86400")
    return text if lifetime else classified(text, hidden=secrets) or "…"


def transport(settings: Settings, clock: Clock) -> Transport:
    """Requests as Orthanc's configuration wants them."""
    return Transport(
        settings.timeout,
        ca_certificates=settings.ca_certificates,
        verify=settings.orthanc.https_verify_peers,
        proxy=settings.orthanc.http_proxy,
        verbose=settings.orthanc.http_verbose,
        clock=clock,
    )
