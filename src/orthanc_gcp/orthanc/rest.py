"""A client of Orthanc's own REST API."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import urllib3
from urllib3.connection import HTTPConnection

from orthanc_gcp.errors import (
    ConfigurationError,
    DefinitionError,
    OrthancGoneError,
    OrthancRefusedError,
    OrthancUnavailableError,
)
from orthanc_gcp.redaction import Address, address, printable, readable
from orthanc_gcp.transport.connections import basic_authorization
from orthanc_gcp.transport.deadlines import (
    BoundedConnection,
    BoundedTlsConnection,
    ClosedWhileIdleError,
    bound_answers,
)
from orthanc_gcp.transport.pipelining import pipelined

__all__ = ["MOST_UNANSWERED", "UNANSWERED", "OrthancRest", "RestDicomWeb"]

_PIECE = 256 * 1024
STORED_WITHIN = 600.0
"""Seconds that Orthanc may take to store an upload once it has all of it."""
MOST_UNANSWERED = 3
"""So many of some questions that are asked together may remain without an answer."""
UNANSWERED = 504
"""The status of what is not answered, though another question is: as a proxy would say."""
LONGEST_ANSWER = 256 << 20
"""Bytes of an answer that is kept in memory: the instances of the largest study, and much more."""
_ONLY_LOOKED_UP = "/tools/"
"""Where what is posted changes nothing."""


class OrthancRest:
    """Orthanc at an address, with the user and password that it may hold.

    Parameters
    ----------
    url
        Such as ``http://user:password@localhost:8042/``.
    timeout
        Seconds until an answer begins, and of silence while it is read.
    authorization
        A header in place of user and password.
    fingerprint
        SHA-256 of the one certificate that is trusted, whatever name it bears and whoever signed.
    connections
        How many are kept open at most.

    Attributes
    ----------
    on_answer
        Called after each request, whatever came of it.

    Raises
    ------
    ConfigurationError
        The address does not say where Orthanc is.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 10,
        ca_certificates: Path | None = None,
        authorization: str = "",
        fingerprint: str = "",
        connections: int = 4,
    ) -> None:
        there = _address(url)
        self.url = there.bare.rstrip("/")
        self._there = urllib3.util.parse_url(self.url)
        # What a cache has kept is not what Orthanc has now (RFC 9111 §5.2.1.4).
        self._headers = {"Accept-Encoding": "identity", "Cache-Control": "no-cache"}
        if there.user is not None:
            self._headers["Authorization"] = basic_authorization(there.user, there.password)
        if authorization:
            self._headers["Authorization"] = authorization
        self._timeout, self._trusted = timeout, _trust(ca_certificates, fingerprint)
        self._pipelines = True
        self._http = urllib3.PoolManager(
            maxsize=connections, timeout=timeout, retries=False, **self._trusted
        )
        bound_answers(self._http)  # a proxy may stand before Orthanc
        self.on_answer: Callable[[], None] = lambda: None

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Orthanc's answer, parsed from JSON; None for one that does not exist (404).

        Raises
        ------
        OrthancUnavailableError
            Orthanc does not answer, or something else does.
        OrthancRefusedError
            Its answer is an error.
        """
        data = None if body is None else json.dumps(body)
        answer = self._answer(method, path, data)
        if answer is None:
            return None
        try:
            return json.loads(answer or b"{}")
        except (ValueError, RecursionError):
            raise OrthancUnavailableError(f"{printable(self.url)} is not an Orthanc") from None

    def answer(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Whatever is answered: the status, and the answer from JSON, None where it is not JSON.

        Raises
        ------
        OrthancUnavailableError
            Orthanc does not answer.
        OrthancRefusedError
            It wants a user, or another one.
        """
        data = None if body is None else json.dumps(body)
        with self._exchange(method, path, data) as answer:
            content = self._whole(answer)
        return self._json(answer.status, method, path, content)

    def _json(self, status: int, method: str, path: str, content: bytes) -> tuple[int, Any]:
        if status == 401:
            self._check(status, method, path)
        try:
            return status, json.loads(content)
        except (ValueError, RecursionError):
            return status, None

    def text(self, path: str) -> str | None:
        """What Orthanc has at a path, as text; None for what does not exist (404).

        Raises
        ------
        OrthancUnavailableError
            Orthanc does not answer.
        OrthancRefusedError
            Its answer is an error.
        """
        answer = self._answer("GET", path)
        return None if answer is None else answer.decode(errors="replace").strip()

    def texts(self, paths: Sequence[str]) -> list[str | OrthancRefusedError | None]:
        """What Orthanc has at each of some paths, as :meth:`text`, for little.

        Where it refuses one, or answers all but that, an error in place of the text; where that is
        so of several, the rest is not asked for, as each may take its time.

        Raises
        ------
        OrthancUnavailableError
            Orthanc does not answer.
        """
        found: list[str | OrthancRefusedError | None] = []
        if self._pipelines and len(paths) > 1:
            requests = [self._head("GET", path) for path in paths]
            answers = pipelined(self._connection, requests)
            for path, answer in zip(paths, answers, strict=False):
                self.on_answer()
                found.append(self._text_of(path, answer.status, answer.body))
            # Behind a proxy that knows none, each would be asked for twice.
            self._pipelines = bool(found)
        unanswered = 0
        for path in paths[len(found) :]:
            if unanswered == MOST_UNANSWERED:
                found.append(_unanswered("was not asked for, as it did not answer about others"))
                continue
            try:
                with self.asking_for_some():
                    found.append(self.text(path))
            except OrthancRefusedError as error:
                unanswered += error.status == UNANSWERED
                found.append(error)
        return found

    @contextmanager
    def asking_for_some(self) -> Iterator[None]:
        """Around a question that Orthanc, or a proxy before it, may never answer for what it names.

        Raises
        ------
        OrthancUnavailableError
            It does not answer, nor another question.
        OrthancRefusedError
            It answers another one: what is not answered may be the fault of what was asked for.
        """
        try:
            yield
        except OrthancUnavailableError as error:
            if not self.answers():
                raise
            raise _unanswered(f"{error}, though it does otherwise") from None

    def answers(self) -> bool:
        """Whether Orthanc answers, from its database (``GET /changes``), whatever it does not."""
        try:
            return self.call("GET", "/changes?limit=1") is not None
        except (OrthancRefusedError, OrthancUnavailableError):
            return False

    def _text_of(self, path: str, status: int, body: bytes) -> str | OrthancRefusedError | None:
        if status == 404:
            return None
        try:
            self._check(status, "GET", path)
        except OrthancRefusedError as error:
            return error
        return body.decode(errors="replace").strip()

    def _head(self, method: str, path: str, **headers: str) -> bytes:
        """A request up to its body, for a pipeline."""
        there = self._there
        every = {"Host": there.netloc or "", **self._headers, **headers}
        lines = [" HTTP/1.1", *map(": ".join, every.items()), "", ""]
        first, rest = f"{method} {(there.path or '').rstrip('/')}", "\r\n".join(lines)
        return f"{first}{quote(path)}{rest}".encode("latin-1")

    def _connection(self) -> HTTPConnection:
        there = self._there
        host = (there.host or "").strip("[]")
        if there.scheme == "https":
            return BoundedTlsConnection(host, there.port, timeout=self._timeout, **self._trusted)
        return BoundedConnection(host, there.port, timeout=self._timeout)

    def _answer(self, method: str, path: str, data: str | None = None) -> bytes | None:
        try:
            with self._exchange(method, path, data) as answer:
                body = self._whole(answer)
        finally:
            self.on_answer()
        if answer.status == 404:
            return None
        self._check(answer.status, method, path)
        return body

    def _whole(self, answer: urllib3.BaseHTTPResponse) -> bytes:
        body = bytearray()
        for piece in self._pieces(answer):
            body += piece
            if len(body) > LONGEST_ANSWER:
                words = f"the answer of {printable(self.url)} does not end"
                raise OrthancUnavailableError(words, timed_out=True)
        return bytes(body)

    @contextmanager
    def read(self, path: str, body: Any = None) -> Iterator[Iterator[bytes]]:
        """What Orthanc has at a path, or makes of a body that is posted there, piece by piece.

        Raises
        ------
        OrthancUnavailableError
            Orthanc does not answer, or breaks off.
        OrthancGoneError
            It has nothing there.
        OrthancRefusedError
            Its answer is an error.
        """
        method = "GET" if body is None else "POST"
        data = None if body is None else json.dumps(body)
        with self._exchange(method, path, data) as answer:
            if answer.status == 404:
                raise OrthancGoneError("Orthanc does not have it any more", status=404)
            self._check(answer.status, method, path)
            yield self._pieces(answer)

    def upload(self, path: str, pieces: bytes | Iterable[bytes]) -> tuple[int, Any]:
        """Send a body, maybe while it is made; the status, and the answer from JSON.

        The answer is None where it is not JSON. What ``pieces`` raise breaks the request off.

        Raises
        ------
        OrthancUnavailableError
            Orthanc does not answer, or breaks off.
        OrthancRefusedError
            It wants a user, or another one.
        """
        timeout = urllib3.Timeout(connect=self._timeout, read=max(self._timeout, STORED_WITHIN))
        try:
            with self._exchange("POST", path, pieces, timeout) as answer:
                body = self._whole(answer)
        finally:
            self.on_answer()
        return self._json(answer.status, "POST", path, body)

    def upload_each(self, path: str, bodies: Sequence[bytes]) -> Iterator[tuple[int, Any]]:
        """Send small bodies, each as :meth:`upload`, for little; the answers in their order.

        Together they fit into the buffer of a socket. One may be sent twice where a connection
        ends.

        Raises
        ------
        OrthancUnavailableError, OrthancRefusedError
            As :meth:`upload`, at the first for which it is so.
        """
        answered = 0
        pipelines = self._pipelines and len(bodies) > 1
        if pipelines:
            requests = [
                self._head("POST", path, **{"Content-Length": str(len(body))}) + body
                for body in bodies
            ]
            for answer in pipelined(self._connection, requests):
                answered += 1
                self.on_answer()
                yield self._json(answer.status, "POST", path, answer.body)
        for body in bodies[answered:]:
            yield self.upload(path, body)
            # Orthanc is there: a proxy before it that knows no pipelines may be the reason.
            self._pipelines = self._pipelines and not (pipelines and not answered)

    @contextmanager
    def _exchange(
        self,
        method: str,
        path: str,
        data: str | bytes | Iterable[bytes] | None = None,
        timeout: urllib3.Timeout | None = None,
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """An answer; unless it is read to its end, its connection is not used again."""
        more: dict[str, Any] = {} if timeout is None else {"timeout": timeout}
        try:
            answer = self._begun(method, path, data, more)
        except urllib3.exceptions.HTTPError as error:
            raise self._down(error) from None
        try:
            yield answer
        finally:
            answer.close()  # urllib3 has the connection back by then if all of it was read

    def _begun(
        self, method: str, path: str, data: Any, more: Mapping[str, Any]
    ) -> urllib3.BaseHTTPResponse:
        """The answer to a request, as far as its head.

        Orthanc ends what is idle for a second (``KeepAliveTimeout``, from 1.11.3 on), maybe just
        when it is used again: what may be repeated is sent once more (RFC 9112 §9.3.1).
        """
        try:
            return self._asked(method, path, data, more)
        except urllib3.exceptions.ProtocolError as error:
            was_idle = any(isinstance(one, ClosedWhileIdleError) for one in error.args)
            if not was_idle or (method == "POST" and not path.startswith(_ONLY_LOOKED_UP)):
                raise
        return self._asked(method, path, data, more)

    def _asked(
        self, method: str, path: str, data: Any, more: Mapping[str, Any]
    ) -> urllib3.BaseHTTPResponse:
        return self._http.request(
            method,
            self.url + path,
            body=data,
            headers=self._headers,
            preload_content=False,
            **more,
        )

    def _pieces(self, answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        try:
            while piece := answer.read(_PIECE):
                yield piece
        except urllib3.exceptions.HTTPError as error:
            raise self._down(error) from None

    def _down(self, error: Exception) -> OrthancUnavailableError:
        place, what = printable(self.url), type(error).__name__
        timed_out = isinstance(error, urllib3.exceptions.ReadTimeoutError)
        return OrthancUnavailableError(f"{place} does not answer ({what})", timed_out=timed_out)

    def _check(self, status: int, method: str, path: str) -> None:
        if status == 401:
            message = (
                f"{printable(self.url)} wants a user and password: http://user:password@host:port/"
            )
            raise OrthancRefusedError(message, status=401)
        if status != 200:
            place, where = printable(self.url), readable(path)
            message = f"{place} answered {status} to {method} {where}"
            raise OrthancRefusedError(message, status=status)


def _unanswered(words: str) -> OrthancRefusedError:
    return OrthancRefusedError(words, status=UNANSWERED)


def _address(url: str) -> Address:
    try:
        found = address(url)
    except ValueError as error:
        raise ConfigurationError(f"Orthanc's address: expected {error}") from None
    scheme, _, rest = found.bare.partition("://")
    usable = rest.strip("/") and found.bare.isprintable() and not {"?", "#"} & set(rest)
    if scheme.lower() not in ("http", "https") or not usable:
        raise ConfigurationError("Orthanc's address: expected http://user:password@host:port/")
    return found


def _trust(ca_certificates: Path | None, fingerprint: str) -> dict[str, Any]:
    """Whom to take for Orthanc."""
    if fingerprint:
        return {"cert_reqs": "CERT_NONE", "assert_fingerprint": fingerprint}
    return {"ca_certs": ca_certificates and str(ca_certificates)}


class RestDicomWeb:
    """The DICOMweb plugin of an Orthanc elsewhere."""

    def __init__(self, orthanc: OrthancRest, root: str) -> None:
        self._orthanc = orthanc
        self._root = root

    def version(self) -> str | None:
        """The plugin's version (``GET /plugins/dicom-web``); None where it is not installed.

        Raises
        ------
        OrthancUnavailableError, OrthancRefusedError
            As :meth:`OrthancRest.call`.
        """
        plugin = self._orthanc.call("GET", "/plugins/dicom-web")
        return None if plugin is None else str(plugin.get("Version", ""))

    def shown(self) -> dict[str, dict[str, Any]] | None:
        """All servers as ``GET servers?expand`` shows them; None where the plugin is disabled.

        Raises
        ------
        OrthancUnavailableError, OrthancRefusedError
            As :meth:`OrthancRest.call`.
        """
        servers = self._orthanc.call("GET", f"{self._root.rstrip('/')}?expand")
        return servers if isinstance(servers, dict) else None

    def put(self, name: str, server: Mapping[str, Any]) -> None:
        """Write the whole definition of a server (``PUT servers/NAME``).

        Raises
        ------
        DefinitionError
            The plugin is disabled.
        OrthancUnavailableError, OrthancRefusedError
            As :meth:`OrthancRest.call`.
        """
        if self._orthanc.call("PUT", self._root + quote(name, safe=""), dict(server)) is None:
            raise DefinitionError("the DICOMweb plugin does not serve its servers")

    def delete(self, name: str) -> None:
        """Remove a server (``DELETE servers/NAME``).

        Raises
        ------
        OrthancUnavailableError, OrthancRefusedError
            As :meth:`OrthancRest.call`.
        """
        self._orthanc.call("DELETE", self._root + quote(name, safe=""))
