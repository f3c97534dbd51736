"""The network below HTTP: names, tunnels, what is spoken, and certificates, over real sockets."""

from __future__ import annotations

import socket

import pytest

from orthanc_gcp.doctor.network import (
    Target,
    certificate_names,
    certificate_of,
    describe_certificate,
    name_servers,
    resolve,
    resolved,
    speaks_http,
    speaks_tls,
    tunnels,
)
from orthanc_gcp.errors import NetworkError
from orthanc_gcp.transport.connections import proxy_of
from tests.support.orthanc import free_port
from tests.support.proxy import Proxy
from tests.support.raw_server import hang_up, says, stall


def target(url: str, proxy: str = "") -> Target:
    return Target(url, proxy_of(url, proxy) if proxy else None, timeout=1.0)


@pytest.fixture
def proxy():
    with Proxy("me:pw") as proxy:
        yield proxy


@pytest.mark.parametrize(
    ("url", "host", "port", "root"),
    [
        ("https://a.example/v1/x?y", "a.example", 443, "https://a.example/"),
        ("http://a.example:8080/v1", "a.example", 8080, "http://a.example:8080/"),
        ("http://[::1]/", "::1", 80, "http://[::1]/"),
    ],
)
def test_the_parts_of_a_target(url, host, port, root):
    found = target(url)
    assert (found.host, found.port, found.root) == (host, port, root)


# -- Names ----------------------------------------------------------------------------------------


def test_a_name_that_is_resolved_and_one_that_is_not():
    assert resolve(target("http://127.0.0.1/")) == "127.0.0.1"
    with pytest.raises(NetworkError, match=r"no-such-host\.invalid cannot be resolved") as caught:
        resolve(target("http://no-such-host.invalid/x"))
    assert (caught.value.reason, caught.value.url) == ("dns", "http://no-such-host.invalid/x")


def test_only_names_that_need_a_name_server_say_something_of_it():
    own = {"", "localhost", socket.gethostname(), "127.0.0.1", "::1"}
    assert resolved(own) == ""
    assert resolved({*own, "no-such-host.invalid"}) == ""


def test_the_name_servers_of_this_machine(tmp_path):
    file = tmp_path / "resolv.conf"
    file.write_text("# nameserver 1.1.1.1\nsearch x\nnameserver 10.0.0.1 # one\nnameserver\n")
    assert name_servers(file) == ["10.0.0.1"]
    file.write_text("nameserver a\x00b\nnameserver ::1\n")
    assert name_servers(file)[1] == "::1"
    assert name_servers(tmp_path / "none") == []


# -- What is spoken -------------------------------------------------------------------------------


def test_what_a_server_of_http_speaks(serve):
    url = f"http://127.0.0.1:{serve().port}/"
    assert speaks_http(target(url))
    assert not speaks_tls(target(url))


def test_what_a_server_of_https_speaks(serve):
    url = f"https://127.0.0.1:{serve(tls=True).port}/"
    assert speaks_tls(target(url))
    assert not speaks_http(target(url))


@pytest.mark.parametrize("behave", [says(b"220 mail.example ESMTP\r\n"), lambda one, _: stall(one)])
def test_what_speaks_neither(serve, behave):
    url = f"http://127.0.0.1:{serve(behave).port}/"
    assert not speaks_http(target(url))
    assert not speaks_tls(target(url))


def test_where_nobody_listens():
    url = f"http://127.0.0.1:{free_port()}/"
    assert not speaks_http(target(url))
    assert not speaks_tls(target(url))
    assert certificate_of(target(url)) is None


# -- Through a proxy ------------------------------------------------------------------------------


def test_a_proxy_that_opens_a_tunnel(serve, proxy):
    url = f"https://127.0.0.1:{serve(tls=True).port}/"
    through = target(url, f"http://me:pw@127.0.0.1:{proxy.port}")
    assert tunnels(through)
    assert speaks_tls(through)
    assert certificate_of(through) is not None
    assert proxy.requests == [f"CONNECT 127.0.0.1:{target(url).port}"] * 3


def test_a_proxy_that_opens_none(serve, proxy):
    url = f"https://127.0.0.1:{serve(tls=True).port}/"
    assert not tunnels(target(url, f"http://127.0.0.1:{proxy.port}")), "without its password"
    silent = serve(lambda connection, head: hang_up(connection))
    assert not tunnels(target(url, f"http://127.0.0.1:{silent.port}"))
    assert not tunnels(target(url, "https://127.0.0.1:1")), "TLS in TLS is not tried"


# -- Certificates ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("issued", "fault", "text"),
    [
        ({"days": -3}, "tls_expired", "the certificate expired on 20"),
        ({"begins": 0, "days": 3}, "tls_name", "for localhost, 127.0.0.1, not for a.example"),
        ({}, "tls_authority", "signed by CN=Test authority, which is not among the authorities"),
        ({}, "tls", "the certificate is signed by CN=Test authority"),
        ({"begins": 2, "days": 3}, "tls_early", "the certificate begins on 20"),
    ],
)
def test_what_is_wrong_with_a_certificate(serve, issued, fault, text):
    server = serve(tls=True, **issued)
    certificate = certificate_of(target(f"https://127.0.0.1:{server.port}/"))
    assert certificate is not None
    assert text in describe_certificate(certificate, fault, "a.example")
    assert certificate_names(certificate) == "localhost, 127.0.0.1"
