"""Answers that come before the request has been sent."""

from __future__ import annotations

import re
import ssl

import pytest

from orthanc_gcp.dicomweb import StoreError
from tests.dicomweb.parts import part_of
from tests.dicomweb.receiving import LARGE, STORED, Recorder, client, large
from tests.emulator.client import make_dicom
from tests.support.certificates import Authority
from tests.support.proxy import Proxy
from tests.support.raw_server import (
    Forgetful,
    RawServer,
    answer,
    closes,
    hang_up,
    reset,
    stall,
)


def early(said, end, some=100_000):
    """Answer after some of the body has come."""

    def behave(connection, head):
        left = some
        while left > 0:
            left -= len(connection.recv(min(left, 65536)))
        connection.sendall(said)
        end(connection)

    return behave


@pytest.mark.parametrize("end", [hang_up, reset, stall])
@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("401 Unauthorized", "unauthorized"),
        ("403 Forbidden", "forbidden"),
        ("413 Content Too Large", "too_large"),
        ("429 Too Many Requests", "throttled"),
        ("503 Service Unavailable", "unavailable"),
    ],
)
def test_an_early_refusal_is_heard(status, reason, end):
    with (
        RawServer(early(answer(b"{}", status, Retry_After="7"), end)) as server,
        pytest.raises(StoreError) as caught,
    ):
        client(server).store([large()])
    assert (caught.value.reason, caught.value.status) == (reason, int(status[:3]))
    assert caught.value.retry_after == 7


@pytest.mark.parametrize("status", ["200 OK", "202 Accepted", "409 Conflict"])
@pytest.mark.parametrize("end", [hang_up, stall])
def test_an_early_success_is_not_believed(status, end):
    with (
        RawServer(early(answer(STORED, status), end)) as server,
        pytest.raises(StoreError, match="before the request was complete") as caught,
    ):
        client(server).store([large()])
    assert (caught.value.reason, caught.value.retryable) == ("protocol", True)


def test_no_request_follows_one_that_was_cut_short():
    """Its bytes would be taken for the rest of the one before."""
    with RawServer(early(answer(b"{}", "429 No"), stall)) as server:
        store = client(server, connections=1)
        for _ in range(2):
            with pytest.raises(StoreError, match="429"):
                store.store([large()])
    assert len(server.heads) == 2


@pytest.fixture
def tls(tmp_path):
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("127.0.0.1"))
    return context, authority.file


def test_over_tls(tls):
    context, authority = tls
    with RawServer(Recorder(), context) as server:
        assert client(server, ca_certificates=authority).store([large()]).bytes_sent > LARGE
        with pytest.raises(StoreError, match="TLS failed") as caught:
            client(server).store([large()])
    assert (caught.value.reason, caught.value.retryable) == ("tls", True)


def test_what_an_idle_connection_over_tls_did_not_take_is_sent_again(tls):
    context, authority = tls
    part = part_of(make_dicom(b"x" * 8_000_000))
    with Forgetful(closes, context) as server:
        store = client(server, ca_certificates=authority)
        for _ in range(2):
            assert list(store.instances("1")) == []
            assert store.store([part]).bytes_sent > 8_000_000
        store.close()
    assert server.connections == 4


def through(proxy, server, authority):
    return client(server, ca_certificates=authority, proxy=f"127.0.0.1:{proxy.port}")


def test_through_the_tunnel_of_a_proxy(tls):
    context, authority = tls
    with Proxy() as proxy, RawServer(Recorder(), context) as server:
        assert through(proxy, server, authority).store([large()]).bytes_sent > LARGE
    assert proxy.requests == [f"CONNECT 127.0.0.1:{server.port}"]


def test_an_early_refusal_through_the_tunnel_of_a_proxy(tls):
    context, authority = tls
    with (
        Proxy() as proxy,
        RawServer(early(answer(b"{}", "429 No"), stall), context) as server,
        pytest.raises(StoreError, match="429"),
    ):
        through(proxy, server, authority).store([large()])


@pytest.mark.parametrize("end", [hang_up, stall])
def test_an_early_refusal_over_tls(tls, end):
    context, authority = tls
    with (
        RawServer(early(answer(b"{}", "429 No"), end), context) as server,
        pytest.raises(StoreError) as caught,
    ):
        client(server, ca_certificates=authority).store([large()])
    assert caught.value.status == 429


def test_an_early_refusal_over_tls_ends_what_would_be_taken_to_its_end(tls):
    """Where the server goes on reading, only the answer says that it is for nothing."""
    context, authority = tls
    taken = []

    def goes_on(connection):
        while piece := connection.recv(65536):
            taken.append(len(piece))

    with (
        RawServer(early(answer(b"{}", "429 No"), goes_on), context) as server,
        pytest.raises(StoreError) as caught,
    ):
        client(server, ca_certificates=authority).store([large()])
    assert caught.value.status == 429
    assert sum(taken) < LARGE / 2


# -- Interim answers ------------------------------------------------------------------------------

EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"


def takes(connection, head, piece, interim=b""):
    """Take a body piece by piece, with something after each, then answer."""
    left = int(re.search(rb"Content-Length: (\d+)", head)[1])
    while left > 0:
        taken = min(piece, left)
        left -= taken
        while taken > 0 and (got := len(connection.recv(taken))):
            taken -= got
        connection.sendall(interim)
    connection.sendall(answer(STORED))


@pytest.mark.parametrize(
    "interim",
    [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 102 Processing\r\n\r\n", EARLY_HINTS * 3],
    ids=["100", "102", "103"],
)
@pytest.mark.parametrize("encrypted", [False, True])
def test_what_is_interim_ends_no_request(tls, interim, encrypted):
    context, authority = tls
    server = RawServer(
        lambda connection, head: takes(connection, head, 262_144, interim=interim),
        context if encrypted else None,
    )
    with server:
        stored = client(server, ca_certificates=authority).store([large(5_000_000)])
    assert stored.bytes_sent > 5_000_000


def test_what_comes_after_an_interim_answer_is_heard():
    refused = EARLY_HINTS + answer(b"{}", "413 Content Too Large")
    with RawServer(early(refused, stall)) as server, pytest.raises(StoreError, match="413"):
        client(server).store([large()])


def test_an_interim_answer_in_pieces():
    def behave(connection, head):
        for byte in EARLY_HINTS:
            connection.sendall(bytes([byte]))
            connection.recv(16 * 1024)
        takes(connection, b"Content-Length: 0", 1)

    with (
        RawServer(behave) as server,
        pytest.raises(StoreError, match="before the request was complete"),
    ):
        client(server).store([large()])
