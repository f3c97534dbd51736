"""C-ECHO and C-STORE over a plain socket, timed: the connector has no library for DIMSE (PS3.7)."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from orthanc_gcp.gateway.retrieve.associate_pdus import (
    Accepted,
    MalformedPduError,
    associate_request,
    pdu,
    read_accept,
)
from orthanc_gcp.gateway.retrieve.file_meta import split_file
from orthanc_gcp.gateway.retrieve.store_request import command, elements, writes

__all__ = ["Peer", "ScuError", "Times", "echo", "store"]

_VERIFICATION, _IMPLICIT = "1.2.840.10008.1.1", "1.2.840.10008.1.2"
_IMPLEMENTATION = ("1.2.826.0.1.3680043.9.3811.3.0.4", "ORTHANC-GCP")
_ACCEPTED, _REJECTED, _DATA, _RELEASE, _TLS_ALERT = 2, 3, 4, 5, 0x15
_LARGEST_PDU, _LONGEST_RECEIVED = 128 * 1024, 16384
_MOST_PDUS = 16
_ECHOES, _STORES = 8, 4
_CONTEXT = 1
_STATUS, _DUPLICATE, _WARNING = 0x0900, 0x0111, 0xB
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
_REASONS = {1: "no reason given", 3: "it does not know {calling}", 7: "it is not called {called}"}
"""Of the service-user (PS3.8 §9.3.4)."""
_CERTIFICATE_EXPIRED = 10
"""X509_V_ERR_CERT_HAS_EXPIRED (OpenSSL, "X509_STORE_CTX_get_error")."""
_UNTRUSTED = (
    "put the certificate of the authority that has signed it into the file of "
    "DicomTlsTrustedCertificates"
)
_REFUSED = (
    "have the authority that has signed the certificate of DicomTlsCertificate trusted there, or "
    "have another one signed by an authority that is"
)
_NO_TLS = "switch TLS on there, or leave UseDicomTls out of its entry of DicomModalities"
_WANTS_TLS = 'set "UseDicomTls": true in its entry of DicomModalities'


class ScuError(Exception):
    """No answer came, or another one; the message says what.

    Attributes
    ----------
    remedy
        What is to be done; empty where that depends.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class _EndedError(ScuError):
    """The other side has ended the connection."""


@dataclass(frozen=True)
class Peer:
    """Who is asked, and as whom.

    Attributes
    ----------
    calling, called
        AE titles.
    within
        Seconds that each answer may take.
    tls
        What the connection is secured with; None for none.
    """

    calling: str
    called: str
    host: str
    port: int
    within: float
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True)
class Times:
    """The median of some requests, in seconds.

    Attributes
    ----------
    delayed
        While this machine acknowledges what comes as it likes, 40 ms later on Linux.
    at_once
        While it acknowledges at once; None where it cannot be made to.
    """

    delayed: float
    at_once: float | None


def echo(peer: Peer) -> Times:
    """Ask some times with C-ECHO (PS3.7 §9.3.5).

    Raises
    ------
    ScuError
        It is not reached, rejects the association, or does not answer with success.
    """
    return _timed(peer, (_VERIFICATION, _IMPLICIT), _ECHOES, lambda number, _: _echo(number))


def store(peer: Peer, file: bytes) -> Times:
    """Store the same instance some times with C-STORE (PS3.7 §9.3.1).

    Parameters
    ----------
    file
        As it would lie on a disk.

    Raises
    ------
    ScuError
        It is not reached, rejects the association, does not take such an instance, or does not
        answer with success; that it has the instance already is one.
    """
    meta, pieces = split_file(iter((file,)))
    data_set = b"".join(pieces)

    def request(number: int, longest: int) -> bytes:
        message = command(number, meta, None)
        return b"".join(writes(_CONTEXT, message, iter((data_set,)), longest))

    return _timed(peer, (meta.sop_class, meta.transfer_syntax), _STORES, request)


def _timed(
    peer: Peer, syntax: tuple[str, str], times: int, request: Callable[[int, int], bytes]
) -> Times:
    """How long requests take, made of their number and the longest PDU that the peer takes."""
    try:
        plain = socket.create_connection((peer.host, peer.port), peer.within)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with plain, _secured(plain, peer) as connection:
            accepted = _associate(connection, peer, syntax)

            def ask(number: int) -> bytes:
                return request(number + 1, accepted.maximum_length)

            delayed = _median(connection, times, ask, quick=False)
            at_once = None if _QUICKACK is None else _median(connection, times, ask, quick=True)
            connection.sendall(pdu(_RELEASE, bytes(4)))
            return Times(delayed, at_once)
    except ssl.SSLError as error:
        raise _tls_error(error) from None
    except TimeoutError:
        raise ScuError(f"it does not answer within {peer.within:g} s") from None
    except OSError as error:
        raise ScuError(error.strerror or type(error).__name__) from None
    except UnicodeError:
        raise ScuError("its Host is no name of one") from None


def _secured(plain: socket.socket, peer: Peer) -> socket.socket:
    if peer.tls is None:
        return plain
    try:
        return peer.tls.wrap_socket(plain, server_hostname=peer.host)
    except (ConnectionError, ssl.SSLEOFError):
        raise ScuError("it ends the connection instead of agreeing on TLS", _NO_TLS) from None
    except ssl.SSLError:
        raise
    except ValueError:
        raise ScuError("its Host is no name of one") from None


def _tls_error(error: ssl.SSLError) -> ScuError:
    """What has failed in TLS, and whose certificate it was."""
    reason = error.reason or type(error).__name__
    if isinstance(error, ssl.SSLEOFError):
        return ScuError("it ends the connection")
    if isinstance(error, ssl.SSLCertVerificationError):
        words = f"its certificate is not accepted: {error.verify_message}"
        expired = error.verify_code == _CERTIFICATE_EXPIRED
        return ScuError(words, "have its certificate renewed" if expired else _UNTRUSTED)
    if "PROTOCOL_VERSION" in reason or reason == "UNSUPPORTED_PROTOCOL":
        return ScuError(f"it speaks no TLS 1.2 or newer ({reason})", "update what answers there")
    if "ALERT" in reason:
        return ScuError(f"it refuses the certificate of DicomTlsCertificate ({reason})", _REFUSED)
    return ScuError(f"it speaks no TLS ({reason})", _NO_TLS)


def _associate(connection: socket.socket, peer: Peer, syntax: tuple[str, str]) -> Accepted:
    try:
        connection.sendall(
            associate_request(
                peer.called, peer.calling, (syntax,), _LONGEST_RECEIVED, _IMPLEMENTATION
            )
        )
        kind, content = _pdu(connection)
    except (_EndedError, ConnectionError, ssl.SSLEOFError) as error:
        if peer.tls is None:
            words = "it ends the connection without an answer: it may want TLS (UseDicomTls)"
            raise ScuError(words) from error
        # With TLS 1.3, who connects hears only now what became of its own certificate.
        words = "it ends the connection once TLS is agreed on: it may not take the certificate"
        raise ScuError(f"{words} of DicomTlsCertificate", _REFUSED) from error
    if kind == _REJECTED:
        reason = _REASONS.get(content[3], f"reason {content[3]}") if len(content) > 3 else ""
        words = reason.format(calling=peer.calling, called=peer.called)
        raise ScuError(f"it rejects the association: {words}")
    if kind != _ACCEPTED:
        raise ScuError("it answers no DICOM, or aborts the association")
    try:
        accepted = read_accept(content)
    except MalformedPduError:
        raise ScuError("it accepts the association with nonsense") from None
    if _CONTEXT not in accepted.contexts:
        raise ScuError("it accepts the association, and not what was to be asked over it")
    return accepted


def _median(
    connection: socket.socket, times: int, ask: Callable[[int], bytes], *, quick: bool
) -> float:
    def acknowledge() -> None:
        if _QUICKACK is not None:
            connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, int(quick))

    taken = []
    for number in range(times):
        message = ask(number)
        began = time.perf_counter()
        acknowledge()
        connection.sendall(message)
        _answered(connection, acknowledge)
        taken.append(time.perf_counter() - began)
    return sorted(taken)[times // 2]


def _answered(connection: socket.socket, acknowledge: Callable[[], None]) -> None:
    """Read a response; one without success is an error."""
    said = b""
    for _ in range(_MOST_PDUS):
        kind, content = _pdu(connection, acknowledge)
        if kind != _DATA or len(content) < 6:
            raise ScuError("it aborts the association, or sends what was not asked for")
        said += content[6:]
        if content[5] & 2:
            break
    value = elements(said).get(_STATUS, b"")
    if len(value) != 2:
        raise ScuError("its answer has no status")
    (status,) = struct.unpack("<H", value)
    if status not in (0, _DUPLICATE) and status >> 12 != _WARNING:
        raise ScuError(f"it answers with the status {status:04X}")


def _pdu(
    connection: socket.socket, acknowledge: Callable[[], None] = lambda: None
) -> tuple[int, bytes]:
    head = _bytes(connection, 6, acknowledge)
    kind, length = struct.unpack(">BxL", head)
    if kind == _TLS_ALERT:
        raise ScuError("it wants TLS", _WANTS_TLS)
    if length > _LARGEST_PDU:
        raise ScuError("it answers no DICOM")
    return kind, _bytes(connection, length, acknowledge)


def _bytes(connection: socket.socket, count: int, acknowledge: Callable[[], None]) -> bytes:
    found = b""
    while len(found) < count:
        acknowledge()
        piece = connection.recv(count - len(found))
        if not piece:
            raise _EndedError("it ends the connection")
        found += piece
    return found


def _echo(number: int) -> bytes:
    """C-ECHO-RQ in one P-DATA-TF (PS3.7 §9.3.5.1, PS3.8 §9.3.5)."""
    values = (
        (0x0002, _VERIFICATION.encode() + b"\0"),
        (0x0100, struct.pack("<H", 0x0030)),
        (0x0110, struct.pack("<H", number)),
        (0x0800, struct.pack("<H", 0x0101)),
    )
    body = b"".join(struct.pack("<HHL", 0, tag, len(one)) + one for tag, one in values)
    body = struct.pack("<HHLL", 0, 0, 4, len(body)) + body
    return pdu(_DATA, struct.pack(">LBB", len(body) + 2, _CONTEXT, 3) + body)
