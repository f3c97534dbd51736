"""The client: requests to one DICOM store, and what is taken for an answer (PS3.18 §10)."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import urllib3
from urllib3 import exceptions

from orthanc_gcp.dicomweb.early_response import listen_while_sending
from orthanc_gcp.dicomweb.error_response import refusal
from orthanc_gcp.dicomweb.json_list import NotAListError, list_elements
from orthanc_gcp.dicomweb.multipart import MultipartError, boundary_of, split_parts
from orthanc_gcp.dicomweb.search import (
    FoundInstance,
    found_instance,
    found_study,
    found_uids,
)
from orthanc_gcp.dicomweb.store_request import Part, Upload
from orthanc_gcp.dicomweb.store_response import (
    InstanceResult,
    judge,
    limit_of_answer,
    names_nothing,
)
from orthanc_gcp.error_text import media_type
from orthanc_gcp.errors import NetworkError, StoreError
from orthanc_gcp.reasons import StoreReason
from orthanc_gcp.redaction import printable
from orthanc_gcp.transport.authorization import Authorization, fits_a_header
from orthanc_gcp.transport.connections import network_error, pools, proxy_of, tls_context
from orthanc_gcp.transport.deadlines import ClosedWhileIdleError

__all__ = ["PAGE", "DicomStore", "Stored"]

LARGEST_OFFSET = 1_000_000
PAGE = 1000
"""Matches of a search that one request brings."""
LONGEST_REFUSAL = 64 * 1024
LONGEST_METADATA = 64 * 1024 * 1024
BYTES_PER_FOUND = 8 * 1024
LONGEST_MATCH = 64 * 1024
"""Bytes of a match with all attributes that were asked for, on the average of a page."""
_PIECE = 256 * 1024
_DRIP = 10
"""How many times the time limit an answer that drips may take as a whole."""
_JSON = "application/dicom+json"
_FILE = "application/dicom; transfer-syntax="
_ALL_AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'

Found = TypeVar("Found")


@dataclass(frozen=True)
class Stored:
    """What a store request came to.

    Attributes
    ----------
    results
        What became of each part that was sent, by its SOP Instance UID.
    bytes_sent
        Size of the request's body.
    """

    results: Mapping[str, InstanceResult]
    bytes_sent: int


@dataclass(frozen=True)
class _Match:
    """A match of a search; two of the same UIDs are one."""

    uids: tuple[str, ...]
    attributes: dict[str, Any] = field(compare=False)


class DicomStore:
    """Talks to one DICOM store; several threads may use it at once.

    Nothing is tried again here but what an idle connection did not take, and no redirect is
    followed. Every method also raises what
    ``authorization`` raises.

    Parameters
    ----------
    url
        The DICOMweb root of the store, ``…/dicomStores/NAME/dicomWeb``.
    authorization
        Gives the access token and the project to bill, anew for each request.
    timeout
        Seconds of silence that are borne; a transfer may take as long as it flows.
    ca_certificates, verify, proxy
        As Orthanc has them; see :mod:`orthanc_gcp.transport.connections`.
    connections
        How many stay open; one for each thread that uses this at the same time.

    Attributes
    ----------
    connections
        As they were given.

    Raises
    ------
    StoreError
        The authorities or the proxy's address cannot be used.
    """

    def __init__(
        self,
        url: str,
        authorization: Callable[[], Authorization],
        *,
        timeout: float = 60,
        ca_certificates: Path | None = None,
        verify: bool = True,
        proxy: str = "",
        connections: int = 8,
    ) -> None:
        self.url, self.connections = url.rstrip("/"), connections
        self._authorization = authorization
        self._timeout = timeout
        self._proxy = proxy_of(self.url, proxy)

        def tls() -> ssl.SSLContext:
            return tls_context(ca_certificates, verify=verify)

        try:
            own_tls = tls() if self.url.startswith("https:") else None
            self._pools = pools(self._proxy, own_tls, tls, maxsize=connections)
        except exceptions.HTTPError as error:
            network = self._network_error(error, "")
            raise _lost(network) from network
        listen_while_sending(self._pools)

    def close(self) -> None:
        """Close the connections that are idle; those in use close when they are done."""
        self._pools.clear()

    # -- Storing ----------------------------------------------------------------------------

    def store(
        self,
        parts: Sequence[Part],
        *,
        replace: bool = False,
        throttle: Callable[[int], None] | None = None,
        stop: Callable[[], bool] | None = None,
        may_end: Callable[[], bool] | None = None,
        patience: float = 0.0,
    ) -> Stored:
        """Send instances in one request: a store transaction (PS3.18 §10.5).

        Parameters
        ----------
        replace
            Overwrite what is there (``PUT``, which v1beta1 of the Cloud Healthcare API has).
        throttle
            Gets the number of bytes before each piece is sent, and may sleep.
        stop
            Ends it by returning True.
        may_end
            Ends it by returning False, when all but the last piece was sent.
        patience
            Seconds beyond the time limit in which the answer may begin, once all was sent.

        Raises
        ------
        SourceError
            A part could not be produced as announced. The store got no complete request.
        StoreError
            The store refused, or its answer was lost: unless the reason says that the request was
            never let in, any of the instances may have been stored.
        ValueError
            There is no part, or two have the same SOP Instance UID, which answers do not
            distinguish.
        """
        if not parts or len({part.sop_instance_uid for part in parts}) < len(parts):
            raise ValueError("instances of one request need SOP Instance UIDs of their own")
        upload = Upload(parts, throttle, stop, may_end)
        what, method = f"storing {len(parts)} instances", "PUT" if replace else "POST"
        body = self._send(what, upload, method, patience)
        return Stored(judge(parts, body), upload.sent)

    def _send(self, what: str, upload: Upload, method: str, patience: float) -> bytes:
        """What the store says of each instance."""
        headers = {"Content-Type": upload.content_type, "Content-Length": str(upload.length)}
        sent = self._exchange(what, method, "/studies", headers, upload, patience)
        with sent as (response, token):
            body = self._read(response, limit_of_answer(upload.parts))
        if response.status not in _SPOKEN:
            raise refusal(self._named(what), response.status, response.headers, body, token)
        if not upload.complete:
            raise self._nonsense(
                what,
                f"answered {response.status} before the request was complete: something on the "
                "way does not speak for the store, check HttpProxy",
            )
        if response.status == 409 and names_nothing(body):
            raise self._nonsense(
                what,
                "answered 409 and names no instance: something on the way does not speak for the "
                "store, check HttpProxy",
                status=409,
            )
        return body

    # -- Searching and reading ----------------------------------------------------------------

    def instances(
        self,
        study: str,
        series: str | None = None,
        *,
        instance: str | None = None,
        page: int = 5000,
    ) -> Iterator[FoundInstance]:
        """The instances that a study or series has, searched in pages (PS3.18 §10.6).

        Search lags behind storing by seconds, and pages shift while somebody stores: an instance
        may come twice, or not at all. What the store names is what comes, asked for or not.

        Raises
        ------
        StoreError
            The store refused, or its answer was lost or is none of a search, or names some of the
            instances by fewer than three UIDs: after all those that are named. Or a UID cannot
            stand in a path, and nothing was asked.
        """
        path = _path(study, series) + "/instances"
        query = {"includefield": "StudyInstanceUID,SeriesInstanceUID"}
        if instance is not None:
            query["SOPInstanceUID"] = instance
        yield from self._matches(path, query, page, found_instance, "three UIDs")

    def studies(self, *, page: int = 1000) -> Iterator[str]:
        """The Study Instance UIDs of all studies, searched in pages, as :meth:`instances`.

        Raises
        ------
        StoreError
            The store refused, or its answer was lost or is none of a search, or names some of the
            studies by no UID: after all those that are named.
        """
        yield from self._matches("/studies", {}, page, found_study, "Study Instance UID")

    def _matches(
        self,
        path: str,
        query: Mapping[str, str],
        page: int,
        named: Callable[[Any], Found | None],
        uids: str,
        longest: int = BYTES_PER_FOUND,
    ) -> Iterator[Found]:
        """What the matches of a search name, page by page."""
        pages: set[int] = set()
        unnamed = 0
        for found in self._pages(path, query, page, named, longest):
            yield from (one for one in found if one is not None)
            unnamed += found.count(None)
            if len(found) >= page:  # another one follows
                same = hash(tuple(found))
                if same in pages:
                    raise self._nonsense("searching", "its pages are all the same")
                pages.add(same)
        if unnamed:
            raise self._nonsense("searching", f"it names {unnamed} of its matches by no {uids}")

    def search(
        self, path: str, parameters: Mapping[str, str], *, depth: int, page: int = PAGE
    ) -> Iterator[dict[str, Any]]:
        """What a search finds, in the DICOM JSON model, page by page (PS3.18 §10.6).

        Parameters
        ----------
        path
            Of the resource that is searched, such as ``/studies``.
        depth
            By how many UIDs each match has to be named: 1 for a study, 3 for an instance.

        Raises
        ------
        StoreError
            As :meth:`instances`.
        """

        def named(match: Any) -> _Match | None:
            uids = found_uids(match, depth)
            return None if uids is None else _Match(uids, match)

        words = ("Study Instance UID", "two UIDs", "three UIDs")[depth - 1]
        for found in self._matches(path, parameters, page, named, words, LONGEST_MATCH):
            yield found.attributes

    def _pages(
        self,
        path: str,
        query: Mapping[str, str],
        page: int,
        named: Callable[[Any], Found | None],
        longest: int,
    ) -> Iterator[list[Found | None]]:
        """All pages of a search, however many there are; one that is not full is the last."""
        for offset in range(0, LARGEST_OFFSET + 1, page):
            part = urlencode({"limit": str(page), **query, "offset": str(offset)})
            found = self._search(f"{path}?{part}", 64 * 1024 + longest * page, named)
            yield found
            if len(found) < page:
                return
        raise self._nonsense(
            "searching", "its pages do not end: there is more than a search can reach, narrow it"
        )

    def _search(
        self, path: str, limit: int, named: Callable[[Any], Found | None]
    ) -> list[Found | None]:
        """What each match of a page names: all that it has is in memory of one at a time."""
        text = self._text("searching", self._get("searching", path, limit))
        found = list_elements(text) if text.strip() else ()
        try:
            return [named(match) for match in found]
        except NotAListError:
            raise self._nonsense("searching", "its answer is no list of matches") from None
        except ValueError:
            raise self._nonsense("searching", _NO_JSON) from None

    def metadata(self, study: str, series: str, instance: str) -> dict[str, Any]:
        """The DICOM JSON model of an instance (PS3.18 §10.4 and annex F).

        Raises
        ------
        StoreError
            The store refused, or its answer was lost or is no such model; or a UID cannot stand in
            a path, and nothing was asked.
        """
        what = "reading metadata"
        body = self._get(what, _path(study, series, instance) + "/metadata", LONGEST_METADATA)
        found = self._json(what, body)
        if isinstance(found, list) and len(found) == 1 and isinstance(found[0], dict):
            return found[0]
        raise self._nonsense(what, "this is not the metadata of one instance")

    def stored_size(self, study: str, series: str, instance: str) -> int | None:
        """How many bytes the store says that it keeps of an instance; None if it does not say.

        Google's "Method: …dicomWeb.studies.series.instances.getStorageInfo".

        Raises
        ------
        StoreError
            The store refused, or its answer was lost or is not JSON; or a UID cannot stand in a
            path, and nothing was asked.
        """
        what = "reading a size"
        path = _path(study, series, instance) + ":getStorageInfo"
        found = self._json(what, self._get(what, path, LONGEST_REFUSAL))
        try:
            return int(found["blobStorageInfo"]["sizeBytes"])
        except (LookupError, TypeError, ValueError, OverflowError):
            return None

    @contextmanager
    def open(
        self, study: str, series: str, instance: str, *, transfer_syntax: str = "*"
    ) -> Generator[Iterator[bytes]]:
        """Read the file of an instance, piece by piece (PS3.18 §10.4).

        An iterator that ends without an error has given all that the store announced.

        Parameters
        ----------
        transfer_syntax
            The one that the store is to bring it in; ``*`` for the file as it is stored.

        Raises
        ------
        StoreError
            The store refused, or what came is not a whole file; the iterator raises it as well. Or
            a UID cannot stand in a path, and nothing was asked.
        """
        what = "reading an instance"
        path = _path(study, series, instance)
        accept = {"Accept": _FILE + transfer_syntax}
        with self._exchange(what, "GET", path, accept) as (response, token):
            if response.status != 200:
                body = self._read(response, LONGEST_REFUSAL)
                raise refusal(self._named(what), response.status, response.headers, body, token)
            unlike = _unlike_a_file(response)
            if unlike:
                raise self._nonsense(what, unlike)
            yield self._pieces(what, response)

    @contextmanager
    def retrieve(
        self, study: str, series: str | None = None
    ) -> Generator[Iterator[Iterator[bytes]]]:
        """Read the files of a study or a series as they are stored, one after another (§10.4).

        Each file is an iterator of pieces, to be read before the next one begins. What ends
        without an error has given all that the store has sent: not all that there is, maybe.

        Raises
        ------
        StoreError
            The store refused, or what came is no such answer, or broke off; the iterators raise
            it as well. Or a UID cannot stand in a path, and nothing was asked.
        """
        what = "reading a series" if series else "reading a study"
        accept = {"Accept": _ALL_AS_STORED}
        with self._exchange(what, "GET", _path(study, series), accept) as (response, token):
            if response.status == 204:
                yield iter(())
                return
            if response.status != 200:
                body = self._read(response, LONGEST_REFUSAL)
                raise refusal(self._named(what), response.status, response.headers, body, token)
            try:
                boundary = boundary_of(response.headers)
                yield self._files(what, split_parts(self._pieces(what, response), boundary))
            except MultipartError as error:
                raise self._broken(what, error) from error

    def _files(self, what: str, parts: Iterator[Iterator[bytes]]) -> Iterator[Iterator[bytes]]:
        """The parts of an answer, with the errors of a client."""

        def pieces(part: Iterator[bytes]) -> Iterator[bytes]:
            try:
                yield from part
            except MultipartError as error:
                raise self._broken(what, error) from error

        try:
            for part in parts:
                yield pieces(part)
        except MultipartError as error:
            raise self._broken(what, error) from error

    def _broken(self, what: str, error: MultipartError) -> StoreError:
        return StoreError(
            f"{self._named(what)}: {error}",
            reason=StoreReason.TRUNCATED if error.truncated else StoreReason.PROTOCOL,
            retryable=True,
        )

    def _pieces(self, what: str, response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        try:
            while piece := response.read1(_PIECE):
                yield piece
        except exceptions.HTTPError as error:
            network = self._network_error(error, what)
            raise _lost(network) from network

    def _get(self, what: str, path: str, limit: int) -> bytes:
        """The body of an answer; empty for 204."""
        with self._exchange(what, "GET", path, {"Accept": _JSON}) as (response, token):
            succeeded, ends = response.status in (200, 204), _ends(response)
            body = self._read(response, limit if succeeded else LONGEST_REFUSAL)
        if not succeeded:
            raise refusal(self._named(what), response.status, response.headers, body, token)
        if not ends:
            raise self._nonsense(what, _ENDLESS)
        return body

    # -- Below ------------------------------------------------------------------------------

    @contextmanager
    def _exchange(
        self,
        what: str,
        method: str,
        path: str,
        headers: Mapping[str, str],
        upload: Upload | None = None,
        patience: float = 0.0,
    ) -> Generator[tuple[urllib3.BaseHTTPResponse, str]]:
        """An answer whose body is still to be read, and the token that was used."""
        authorization = self._authorized(what)
        own = {"Accept": _JSON, "Accept-Encoding": "identity", **authorization.headers()}
        response = None
        try:
            response = self._begun(method, path, {**own, **headers}, upload, patience)
            yield response, authorization.token
        except exceptions.HTTPError as error:
            network = self._network_error(error, what, patience)
            raise _lost(network) from network
        finally:
            if response is not None:
                response.close()  # urllib3 reuses the connection if all of it was read

    def _begun(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        upload: Upload | None,
        patience: float,
    ) -> urllib3.BaseHTTPResponse:
        """The answer to a request, as far as its head.

        What surely was not taken, as a connection ended just when it was used again, is sent once
        more (RFC 9112 §9.3.1): what reads, and what has not left wholly.
        """
        try:
            return self._asked(method, path, headers, upload, patience)
        except exceptions.ProtocolError as error:
            was_idle = any(isinstance(one, ClosedWhileIdleError) for one in error.args)
            if not was_idle or (upload is not None and upload.complete):
                raise
        return self._asked(method, path, headers, upload, patience)

    def _asked(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        upload: Upload | None,
        patience: float,
    ) -> urllib3.BaseHTTPResponse:
        with closing(iter(upload)) if upload is not None else nullcontext() as body:
            return self._pools.urlopen(
                method,
                self.url + path,
                body=body,
                headers=headers,
                timeout=urllib3.Timeout(connect=self._timeout, read=self._timeout + patience),
                retries=False,
                redirect=False,
                preload_content=False,
            )

    def _authorized(self, what: str) -> Authorization:
        authorization = self._authorization()
        if fits_a_header(authorization.token):
            return authorization
        raise StoreError(
            f"{self._named(what)}: the access token is empty or cannot be one",
            reason=StoreReason.UNAUTHORIZED,
            retryable=True,
        )

    def _read(self, response: urllib3.BaseHTTPResponse, limit: int) -> bytes:
        """A small body, whole."""
        deadline = time.monotonic() + _DRIP * self._timeout
        data = bytearray()
        while piece := response.read1(_PIECE):
            data += piece
            if len(data) > limit:
                raise exceptions.ProtocolError(f"the answer is longer than {limit} bytes")
            if time.monotonic() > deadline:
                raise exceptions.TimeoutError
        return bytes(data)

    def _json(self, what: str, body: bytes) -> Any:
        try:
            return json.loads(self._text(what, body))
        except (ValueError, RecursionError):
            raise self._nonsense(what, _NO_JSON) from None

    def _text(self, what: str, body: bytes) -> str:
        """The text of JSON, in whichever of its encodings (RFC 4627 §3)."""
        try:
            return body.decode(json.detect_encoding(body), "surrogatepass")
        except ValueError:
            raise self._nonsense(what, _NO_JSON) from None

    def _network_error(
        self, error: exceptions.HTTPError, what: str, patience: float = 0.0
    ) -> NetworkError:
        limit = round(self._timeout + patience, 1)
        return network_error(error, self._named(what), self.url, limit=limit, proxy=self._proxy)

    def _nonsense(self, what: str, words: str, status: int | None = None) -> StoreError:
        return StoreError(
            f"{self._named(what)}: {words}",
            reason=StoreReason.PROTOCOL,
            retryable=True,
            status=status,
        )

    def _named(self, what: str) -> str:
        place = printable(self.url).partition("://")[2].removesuffix("/dicomWeb")
        return f"{what} at {place}" if what else place


_NO_JSON = "the answer is not JSON"
_SPOKEN = frozenset({200, 202, 204, 409})
"""Statuses with which the store speaks of each instance."""

_REASONS = {
    "timeout": StoreReason.TIMEOUT,
    "tls": StoreReason.TLS,
    "truncated": StoreReason.TRUNCATED,
    "ca_certificates": StoreReason.CA_CERTIFICATES,
}
"""The reason of a NetworkError, where it makes a difference to who sends."""


def _lost(network: NetworkError) -> StoreError:
    """No complete answer came: whether the request was carried out is not known."""
    return StoreError(
        str(network),
        reason=_REASONS.get(network.reason, StoreReason.NETWORK),
        retryable=network.retryable,
    )


def _path(study: str, series: str | None = None, instance: str | None = None) -> str:
    levels = {"studies": study, "series": series, "instances": instance}
    return "".join(f"/{level}/{_segment(uid)}" for level, uid in levels.items() if uid is not None)


def _segment(uid: str) -> str:
    """A UID as a segment of a path, percent-encoded.

    No encoding makes one of nothing, nor of a dot-segment (RFC 3986 §3.3).
    """
    try:
        if uid not in ("", ".", ".."):
            return quote(uid, safe="")
    except UnicodeEncodeError:  # half of a surrogate pair
        pass
    raise StoreError("a UID cannot stand in a path, nothing was asked", reason=StoreReason.UID)


def _unlike_a_file(response: urllib3.BaseHTTPResponse) -> str:
    """Why an answer cannot be taken for a file, if so."""
    headers = response.headers
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/dicom":
        return f"a file was asked for, {media_type(kind) or 'something'} came"
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        return "the file came compressed, though it was asked for as it is"
    return "" if _ends(response) else _ENDLESS


_ENDLESS = "the answer does not say where it ends, so that it might be cut unnoticed"


def _ends(response: urllib3.BaseHTTPResponse) -> bool:
    """Whether an answer, not read yet, announces its end, and does not only hang up.

    RFC 9112 §6.3.
    """
    coding = response.headers.get("Transfer-Encoding", "")
    return response.length_remaining is not None or coding.strip().lower() == "chunked"
