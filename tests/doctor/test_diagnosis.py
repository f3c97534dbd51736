"""The cause behind what a library says of a failed connection, over real sockets."""

from __future__ import annotations

import pytest

from orthanc_gcp.doctor.diagnosis import diagnose
from orthanc_gcp.errors import NetworkError, StoreError, TokenError
from orthanc_gcp.reasons import NetworkFault
from tests.support.proxy import Proxy
from tests.support.raw_server import stall


def silent(connection, _head) -> None:
    stall(connection)


def fail(found, url: str) -> NetworkError:
    """What the transport says of a request to an address."""
    with pytest.raises(NetworkError) as caught:
        found.transport(url, "HEAD")
    return diagnose(caught.value, found)


def at(server, scheme: str) -> str:
    return f"{scheme}://127.0.0.1:{server.port}/"


def test_https_where_http_is_spoken(examination, serve):
    error = fail(examination(), at(serve(), "https"))
    assert error.fault == "tls_plain"
    assert "speaks http on port" in str(error)


def test_http_where_https_is_spoken(examination, serve):
    error = fail(examination(), at(serve(tls=True), "http"))
    assert error.fault == "encrypted"
    assert "speaks https on port" in str(error)


def test_a_certificate_of_an_unknown_authority(examination, serve):
    error = fail(examination(), at(serve(tls=True), "https"))
    assert error.fault == "tls_authority"
    assert "signed by CN=Test authority" in str(error)


@pytest.mark.parametrize(
    ("spoken", "tls", "fault"), [("http", True, "proxy_encrypted"), ("https", False, "proxy_plain")]
)
def test_a_proxy_that_speaks_the_other_one(examination, serve, spoken, tls, fault):
    proxy = f"{spoken}://127.0.0.1:{serve(tls=tls).port}"
    error = fail(examination(whole={"HttpProxy": proxy}), "https://healthcare.googleapis.com/")
    assert error.fault == fault
    assert f"speaks {'https' if tls else 'http'}, not {spoken}" in str(error)


def test_what_is_no_proxy(examination, serve):
    proxy = f"http://127.0.0.1:{serve(silent).port}"
    found = examination(whole={"HttpProxy": proxy}, section={"Timeout": 1})
    error = fail(found, "https://healthcare.googleapis.com/")
    assert error.fault == "proxy_silent"
    assert "does not answer as an HTTP proxy" in str(error)


def test_a_server_that_is_slow_behind_a_good_proxy_stays_slow(examination, serve):
    with Proxy() as proxy:
        found = examination(
            whole={"HttpProxy": f"http://127.0.0.1:{proxy.port}"}, section={"Timeout": 1}
        )
        given = NetworkError("slow", fault=NetworkFault.TIMEOUT, url=at(serve(silent), "https"))
        assert diagnose(given, found) is given


def test_a_name_where_others_are_not_resolved_either(examination):
    error = fail(examination(TokenUri="http://127.0.0.1:1/"), "https://no-such-host.invalid/")
    assert error.fault in ("dns", "dns_one"), "whether this machine has a name server"
    assert str(error).startswith("the host name no-such-host.invalid cannot be resolved, ")


@pytest.mark.parametrize(
    "error",
    [
        StoreError("x", reason="timeout"),
        NetworkError("x", fault=NetworkFault.DNS),
        NetworkError("x", fault=NetworkFault.CONNECTION, url="http://127.0.0.1:1/"),
        TokenError("x", reason="invalid_grant", url="http://127.0.0.1:1/"),
    ],
)
def test_what_the_network_says_nothing_of_stays(examination, error):
    assert diagnose(error, examination()) is error
