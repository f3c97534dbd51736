"""The port: TLS, and what is done while others say nothing."""

from __future__ import annotations

import socket
import ssl
import threading

import pytest

from tests.gateway.scu import associate, run
from tests.gateway.test_transport import ends, request
from tests.support.certificates import Authority


@pytest.fixture
def tls(tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.issue("127.0.0.1")
    return {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(certificate),
        "DicomTlsPrivateKey": str(key),
        "DicomTlsTrustedCertificates": str(authority.file),
    }


def context(tls, own=True):
    made = ssl.create_default_context(cafile=tls["DicomTlsTrustedCertificates"])
    if own:
        made.load_cert_chain(tls["DicomTlsCertificate"], tls["DicomTlsPrivateKey"])
    return made


def test_tls(start, tls):
    port = start(**tls).port
    # One that says nothing, and one that speaks no TLS: neither is in the way.
    with socket.create_connection(("127.0.0.1", port)) as silent:
        assert ends(port, request(), shut=True)[:1] in (b"", b"\x15")  # a TLS alert
        association = associate(port, tls_args=(context(tls), "localhost"))
        assert association.is_established
        assert association.send_c_echo().Status == 0
        association.release()
        assert silent.fileno() > 0


def test_a_certificate_is_asked_for(start, tls):
    port = start(**tls).port
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    with (
        pytest.raises((ssl.SSLError, ConnectionError)),
        context(tls, own=False).wrap_socket(connection, server_hostname="localhost") as secured,
    ):
        secured.sendall(request())
        if not secured.recv(1):
            raise ConnectionError
    port = start(**tls, DicomTlsRemoteCertificateRequired=False).port
    stranger = associate(port, tls_args=(context(tls, own=False), "localhost"))
    assert stranger.is_established
    stranger.release()


@pytest.mark.parametrize("name", ["process_request_thread", "gcp-association"])
def test_threads_that_cannot_be_started_leave_room(start, monkeypatch, name):
    """As at a limit of tasks: what is closed for that counts no more."""
    gateway = start({"MaxAssociations": 1})
    begin = threading.Thread.start

    def refuse(thread):
        if name in thread.name:
            raise RuntimeError("can't start new thread")
        begin(thread)

    with monkeypatch.context() as there:
        there.setattr(threading.Thread, "start", refuse)
        for _ in range(30):
            assert ends(gateway.port, request()) == b""
    association = associate(gateway.port)
    assert association.is_established
    assert association.send_c_echo().Status == 0
    association.release()


def test_silent_connections_leave_room(start):
    port = start({"MaxAssociations": 1}, DicomScpTimeout=1).port
    silent = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(30)]
    for one in silent:
        assert one.recv(100) == b""
        one.close()
    assert run("echoscu", port)[0] == 0
