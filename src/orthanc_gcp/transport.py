"""The HTTP transport of token requests: Orthanc's CA, proxy and time limit; bounded answers.

It is handed to ``credentials.refresh()`` as google-auth's own transports would be. urllib3 is
used without requests on top of it: inside Orthanc that saves a third of the import time, and only
urllib3 gives a body piece by piece, which a limit on the whole exchange needs.
"""

from __future__ import annotations

import json
import logging
import os
import ssl
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3
from google.auth.transport import Request, Response
from urllib3 import exceptions

from orthanc_gcp.clock import Clock, SystemClock
from orthanc_gcp.errors import TokenError
from orthanc_gcp.secrecy import masked_fields, masked_form, readable, secrets_of_form

__all__ = ["Answer", "Transport"]

LONGEST_ANSWER = 1024 * 1024
_PIECE = 64 * 1024

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
    ) -> None:
        self._timeout = timeout
        self._ca_certificates = ca_certificates
        self._verify = verify
        self._proxy = proxy
        self._verbose = verbose
        self._clock = clock or SystemClock()
        self._pools: dict[tuple[str, str, tuple[str, str] | None], urllib3.PoolManager] = {}
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
        TokenError
            No complete answer came; the message names the fault of the network in words.
        """
        limit = min(timeout or self._timeout, self._timeout)
        if self._verbose:
            _log.warning("%s %s with %s", method, url, _masked_request(body, headers or {}))
        try:
            answer = self._exchange(method, url, body, dict(headers or {}), limit, cert)
        except exceptions.HTTPError as error:
            reason, words = _fault(error, limit)
            raise TokenError(f"{urlsplit(url).netloc}: {words}", reason=reason) from None
        if self._verbose:
            words = _masked_answer(answer, secrets_of_form(body))
            _log.warning("%s answered %d %s", url, answer.status, words)
        return answer

    def proxy_of(self, url: str) -> str:
        """The proxy that a request takes; empty for none."""
        local = urlsplit(url).netloc in _metadata_servers()
        return "" if local else self._proxy or _environment_proxy(url)

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
            timeout=urllib3.Timeout(connect=limit, read=limit),
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
            if len(data) > LONGEST_ANSWER:
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
        self, scheme: str, proxy: str, certificate: tuple[str, str] | None
    ) -> urllib3.PoolManager:
        options: dict[str, Any] = {"num_pools": 32, "maxsize": 16}
        if scheme == "https":
            options["ssl_context"] = self._tls()
            if certificate is not None:
                options["ssl_context"].load_cert_chain(*certificate)
        if not proxy:
            return urllib3.PoolManager(**options)
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        if parts.username:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            options["proxy_headers"] = urllib3.make_headers(proxy_basic_auth=user)
        if parts.scheme == "https":
            options["proxy_ssl_context"] = self._tls()
        address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        return urllib3.ProxyManager(address, **options)

    def _tls(self) -> ssl.SSLContext:
        if not self._verify:
            urllib3.disable_warnings(exceptions.InsecureRequestWarning)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        try:
            return ssl.create_default_context(cafile=self._ca_certificates)
        except OSError as error:  # ssl.SSLError is one
            raise TokenError(
                f"the certificate authorities in {self._ca_certificates} (HttpsCACertificates) "
                f"cannot be used: {error.strerror or error}",
                reason="ca_certificates",
            ) from None


def _metadata_servers() -> tuple[str, ...]:
    """The platform's metadata server is on the local link: no proxy leads there."""
    named = (os.environ.get("GCE_METADATA_HOST"), os.environ.get("GCE_METADATA_IP"))
    return ("metadata.google.internal", "169.254.169.254", *filter(None, named))


def _environment_proxy(url: str) -> str:
    """The proxy that libcurl, and so Orthanc itself, would take from the environment."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return ""
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    if proxy_bypass(parts.netloc):
        return ""
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all") or ""


def _fault(error: exceptions.HTTPError, limit: float) -> tuple[str, str]:
    """A reason for programs, and words, for what went wrong below HTTP."""
    if isinstance(error, exceptions.ProxyError):
        return "proxy", f"the proxy refuses or cannot be reached ({_innermost(error)})"
    if isinstance(error, exceptions.NameResolutionError):
        return "dns", "the host name cannot be resolved, check DNS and HttpProxy"
    if isinstance(error, exceptions.NewConnectionError):
        return "connection", f"no connection ({_innermost(error)})"
    if isinstance(error, exceptions.TimeoutError):
        return "timeout", f"no complete answer within {limit:g} s"
    if isinstance(error, exceptions.SSLError):
        return "tls", f"TLS failed: {_innermost(error)}, check HttpsCACertificates"
    if "IncompleteRead" in str(error):  # urllib3 wraps it in an error of another type
        return "truncated", "the answer broke off before its end"
    return "protocol", f"the exchange broke off ({_innermost(error)})"


def _innermost(error: BaseException) -> str:
    """The words of the operating system, of OpenSSL or of the HTTP parser."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    text = getattr(error, "verify_message", "") or getattr(error, "strerror", "") or str(error)
    return readable(text or type(error).__name__)


def _masked_request(body: bytes | None, headers: Mapping[str, str]) -> str:
    kinds = [value for name, value in headers.items() if name.lower() == "content-type"]
    if body and any("form-urlencoded" in kind for kind in kinds):
        return str(masked_form(body))
    return f"{len(body or b'')} bytes"


def _masked_answer(answer: Answer, secrets: list[str]) -> str:
    try:
        fields = json.loads(answer.data)
    except ValueError:
        fields = None
    if isinstance(fields, dict):
        return str(masked_fields(fields, secrets))
    return f"{len(answer.data)} bytes of {readable(answer.headers.get('Content-Type', 'unknown'))}"
