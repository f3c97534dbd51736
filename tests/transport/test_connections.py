"""The way to a server: authorities, proxies, and the faults of real networks."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time

import pytest

from orthanc_gcp.transport import deadlines
from orthanc_gcp.transport.connections import Proxy as Address
from orthanc_gcp.transport.connections import pools
from tests.support import token_server as answers
from tests.support.orthanc import free_port
from tests.support.proxy import Proxy
from tests.support.raw_server import RawServer, answer, says
from tests.transport.exchange import ask, failure


def test_a_private_authority(tls_server):
    server, authority = tls_server
    assert ask(server.url, ca_certificates=authority.file).status == 200


def test_an_unknown_authority(tls_server):
    error = failure(tls_server[0].url)
    assert (error.reason, error.fault) == ("tls", "tls_authority")
    assert "unable to get local issuer certificate, check HttpsCACertificates" in str(error)


def test_checks_can_be_switched_off(tls_server):
    assert ask(tls_server[0].url, verify=False).status == 200


@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_authorities_that_cannot_be_used(tls_server, tmp_path, content):
    file = tmp_path / "broken.pem"
    if content is not None:
        file.write_text(content)
    error = failure(tls_server[0].url, ca_certificates=file)
    assert error.reason == "ca_certificates"
    assert f"the certificate authorities in {file} (HttpsCACertificates) cannot be used" in str(
        error
    )


def test_a_proxy(token_server):
    with Proxy() as proxy:
        assert ask(token_server.url, proxy=f"127.0.0.1:{proxy.port}").status == 200
    assert proxy.requests == [f"POST {token_server.url}"]


def test_a_proxy_for_https_with_a_password(tls_server):
    server, authority = tls_server
    with Proxy(credentials="user:p@ss") as proxy:
        address = f"http://user:p%40ss@127.0.0.1:{proxy.port}"
        assert ask(server.url, proxy=address, ca_certificates=authority.file).status == 200
    assert proxy.requests == [f"CONNECT 127.0.0.1:{server.port}"]


@pytest.mark.parametrize(
    ("user_info", "credentials"),
    [
        ("%C3%BC:p%C3%A4$$%20w%C3%B6rd%40%3A%2F%23", "ü:pä$$ wörd@:/#"),
        ("ü:pä$$ wörd@:", "ü:pä$$ wörd@:"),
        ("user:日本@語", "user:日本@語"),
        ("user:100%", "user:100%"),
        ("user", "user:"),
    ],
)
def test_passwords_of_proxies_are_utf_8(tls_server, token_server, user_info, credentials):
    server, authority = tls_server
    with Proxy(credentials=credentials) as proxy:
        for address in (
            f"http://{user_info}@127.0.0.1:{proxy.port}",
            f"{user_info}@localhost:{proxy.port}",
        ):
            assert ask(server.url, proxy=address, ca_certificates=authority.file).status == 200
            assert ask(token_server.url, proxy=address).status == 200
        with Proxy(credentials="another") as other:
            error = failure(server.url, proxy=f"http://{user_info}@127.0.0.1:{other.port}")
    assert error.reason == "proxy"
    for secret in ("wörd", "w%C3%B6rd", "語", "100%"):
        assert secret not in str(error)


@pytest.mark.parametrize(
    "proxy",
    ["http://u:hush/x@127.0.0.1:1", "http://u:12/hush@h:1", "socks5://u:hush@h:1", "h:hush"],
)
def test_a_proxy_of_the_environment_that_cannot_be_used(token_server, monkeypatch, proxy):
    monkeypatch.setenv("http_proxy", proxy)
    error = failure(token_server.url)
    assert error.reason == "proxy"
    assert "hush" not in str(error)


@pytest.mark.parametrize(
    ("proxy", "port"),
    [
        ("proxy", 1080),
        ("http://u:p@proxy/", 1080),
        ("http://[::1]", 1080),
        ("http://[::1]:3128", 3128),
        ("proxy:3128", 3128),
        ("https://proxy", 443),
    ],
)
def test_the_port_of_a_proxy_is_that_of_libcurl(proxy, port):
    """Orthanc's own transfers, by libcurl, and ours are to take the same way."""
    found = pools(Address(proxy, "HttpProxy"), None, ssl.create_default_context).proxy
    assert found.port == port


def test_a_proxy_that_refuses(tls_server):
    with Proxy(credentials="user:other") as proxy:
        error = failure(tls_server[0].url, proxy=f"http://user:wrong@127.0.0.1:{proxy.port}")
    assert (error.reason, error.fault) == ("proxy", "proxy_authentication")
    where = f"the proxy 127.0.0.1:{proxy.port} (HttpProxy in Orthanc's configuration)"
    assert str(error).endswith(f"{where} refuses the user or password (407)")
    assert "wrong" not in str(error)


def test_a_proxy_that_is_not_there(token_server):
    error = failure(token_server.url, proxy=f"127.0.0.1:{free_port()}")
    assert (error.reason, error.fault) == ("proxy", "proxy_connection")
    assert "cannot be reached (Connection refused)" in str(error)


@pytest.mark.parametrize("address", ["socks5://127.0.0.1:1", "127.0.0.1:99999", "[::1", "http://"])
def test_an_address_that_is_not_that_of_a_proxy(token_server, monkeypatch, address):
    monkeypatch.setenv("all_proxy", address)
    error = failure(token_server.url)
    assert (error.reason, error.fault) == ("proxy", "proxy_address")
    assert "(all_proxy in the environment) cannot be used" in str(error)


def test_a_proxy_is_shown_without_its_password():
    proxy = Address("http://me:secret@10.0.0.1:3128", "https_proxy")
    assert str(proxy) == "the proxy 10.0.0.1:3128 (https_proxy in the environment)"
    assert "secret" not in repr(proxy)


def test_the_proxy_of_the_environment(token_server, monkeypatch):
    with Proxy() as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        assert ask(token_server.url).status == 200
        assert len(proxy.requests) == 1
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert ask(token_server.url).status == 200
        assert len(proxy.requests) == 1


@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_what_the_environment_keeps_from_the_configured_proxy(token_server, monkeypatch, name):
    """So do Orthanc's own transfers (tests/integration/test_life.py)."""
    with Proxy() as proxy:
        monkeypatch.setenv(name, "elsewhere.example")
        assert ask(token_server.url, proxy=f"127.0.0.1:{proxy.port}").status == 200
        assert len(proxy.requests) == 1
        monkeypatch.setenv(name, "elsewhere.example,127.0.0.1")
        assert ask(token_server.url, proxy=f"127.0.0.1:{proxy.port}").status == 200
        assert len(proxy.requests) == 1


def drop(opened, address, port=0):
    """Let nobody connect to an address any more, as a firewall that drops what comes; its port."""
    listener = opened.enter_context(socket.socket())
    listener.bind((address, port))
    listener.listen(0)
    for _ in range(4):
        client = opened.enter_context(socket.socket())
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
    return listener.getsockname()[1]


def resolve(monkeypatch, *addresses):
    """Let ``store.test`` have these addresses; the hosts that are asked for."""
    asked, real = [], socket.getaddrinfo

    def resolved(host, port, *more, **options):
        asked.append(host)
        if host != "store.test":
            return real(host, port, *more, **options)
        if not addresses:
            raise socket.gaierror(socket.EAI_AGAIN, "no name server answers")
        return [one for address in addresses for one in real(address, port)]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    monkeypatch.setattr(deadlines, "_tried_last", {})
    return asked


def test_a_connection_that_nobody_takes():
    with contextlib.ExitStack() as opened:
        port = drop(opened, "127.0.0.1")
        error = failure(f"http://127.0.0.1:{port}/", timeout=0.5)
    assert (error.reason, error.fault) == ("timeout", "timeout_connect")
    assert "no connection within 0.5 s" in str(error)


def test_an_address_that_leads_nowhere_holds_up_no_other(monkeypatch):
    """As IPv6 where a firewall drops it; afterwards it is tried last."""
    monkeypatch.setattr(deadlines, "FIRST_ADDRESSES", 0.1)
    asked = resolve(monkeypatch, "127.0.0.2", "127.0.0.1")
    with contextlib.ExitStack() as opened:
        server = opened.enter_context(RawServer(says(answer(b"{}"))))
        drop(opened, "127.0.0.2", server.port)
        for _ in range(2):
            assert ask(f"http://store.test:{server.port}/", timeout=30).status == 200
    assert asked == ["store.test", "127.0.0.2", "127.0.0.1", "store.test", "127.0.0.1"]


def test_all_addresses_have_one_time_limit(monkeypatch):
    monkeypatch.setattr(deadlines, "FIRST_ADDRESSES", 0.5)
    addresses = [f"127.0.0.{number}" for number in range(2, 8)]
    resolve(monkeypatch, *addresses)
    with contextlib.ExitStack() as opened:
        port = drop(opened, addresses[0])
        for address in addresses[1:]:
            drop(opened, address, port)
        began = time.monotonic()
        error = failure(f"http://store.test:{port}/", timeout=0.6)
    assert time.monotonic() - began < 1.5
    assert (error.reason, error.fault) == ("timeout", "timeout_connect")
    assert "no connection within 0.6 s" in str(error)


def test_the_last_address_has_some_of_it(monkeypatch):
    resolve(monkeypatch, "127.0.0.2", "127.0.0.3", "127.0.0.1")
    with contextlib.ExitStack() as opened:
        server = opened.enter_context(RawServer(says(answer(b"{}"))))
        for address in ("127.0.0.2", "127.0.0.3"):
            drop(opened, address, server.port)
        assert ask(f"http://store.test:{server.port}/", timeout=1.5).status == 200


def test_a_name_server_is_asked_once(monkeypatch):
    """One that says nothing is waited for as long as the system likes."""
    asked = resolve(monkeypatch)
    assert failure("http://store.test/", timeout=5).fault == "dns"
    assert asked == ["store.test"]
    asked = resolve(monkeypatch, "127.0.0.1")
    with RawServer(says(answer(b"{}"))) as server:
        assert ask(f"http://store.test:{server.port}/", timeout=5).status == 200
    assert asked.count("store.test") == 1


def test_refused():
    port = free_port()
    error = failure(f"http://127.0.0.1:{port}/token")
    assert str(error) == f"127.0.0.1:{port}: no connection (Connection refused)"
    assert (error.reason, error.retryable) == ("connection", True)


def test_a_host_that_does_not_exist():
    error = failure("https://no-such-host.invalid/token", timeout=30)
    assert error.reason == "dns"
    assert "the host name cannot be resolved, check DNS and HttpProxy" in str(error)


def test_a_truncated_answer(token_server):
    token_server.answer = answers.raw(b'{"access_token": "ya', length=500)
    error = failure(token_server.url)
    assert error.reason == "truncated"
    assert "the answer broke off before its end" in str(error)


def test_a_reset_connection(token_server):
    token_server.answer = answers.reset
    assert failure(token_server.url).reason == "protocol"


def test_something_that_does_not_speak_http():
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_greet, args=(server,), daemon=True).start()
        error = failure(f"http://127.0.0.1:{server.getsockname()[1]}/")
    assert error.reason == "protocol"


def _greet(server: socket.socket) -> None:
    connection, _ = server.accept()
    connection.recv(65536)
    connection.sendall(b"220 smtp.example ESMTP\r\n")
    connection.close()
