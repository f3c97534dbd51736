"""The remedy of a fault of the network: which option, or what on the way, is to be corrected."""

from __future__ import annotations

import pytest

from orthanc_gcp.doctor.network_remedies import is_metadata_server, of_network
from orthanc_gcp.errors import NetworkError
from orthanc_gcp.reasons import NetworkFault

GOOGLE = "https://healthcare.googleapis.com/v1beta1/"
GATEWAY = "https://gateway.example/v1/"


@pytest.fixture(autouse=True)
def no_proxy_of_the_environment(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def remedy(examination, fault: NetworkFault, url: str, message: str = "x", **options) -> str:
    section = {"BaseUrl": GATEWAY} if url.startswith(GATEWAY) else {}
    found = examination(section={**section, **options.pop("section", {})}, **options)
    return of_network(NetworkError(message, fault=fault, url=url), found)


@pytest.mark.parametrize("fault", list(NetworkFault))
@pytest.mark.parametrize("url", [GOOGLE, GATEWAY, "https://elsewhere.example/"])
def test_every_fault_has_a_remedy(examination, fault, url):
    assert remedy(examination, fault, url)
    assert remedy(examination, fault, url, whole={"HttpProxy": "proxy.example:3128"})


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (NetworkFault.DNS_ONE, "correct the host name in BaseUrl (Google's is https://healthcare."),
        (NetworkFault.DNS, "if this machine needs no DNS, correct the host in BaseUrl"),
        (NetworkFault.CONNECTION, "correct the host in BaseUrl (Google's is "),
        (NetworkFault.TIMEOUT, "or raise Timeout; if it is not the right one, correct the host"),
        (NetworkFault.ENCRYPTED, "write https:// instead of http:// in BaseUrl"),
        (NetworkFault.TLS_PLAIN, "write http:// instead of https:// in BaseUrl"),
        (NetworkFault.TLS_NAME, "to a name that the certificate has"),
    ],
)
def test_an_address_of_the_users_is_to_be_corrected(examination, fault, expected):
    assert expected in remedy(examination, fault, GATEWAY)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (NetworkFault.DNS_ONE, "have the name server that /etc/resolv.conf names resolve healthc"),
        (NetworkFault.CONNECTION, "open the firewall for HTTPS to *.googleapis.com"),
        (NetworkFault.TLS_PLAIN, "something answers in the place of Google"),
        (NetworkFault.TLS_NAME, "see what it resolves to (getent hosts healthcare.googleapis.com"),
    ],
)
def test_googles_own_address_is_right(examination, fault, expected):
    text = remedy(examination, fault, GOOGLE)
    assert expected in text
    assert "BaseUrl" not in text


def test_a_port_of_google_that_is_not_for_https(examination):
    url = "https://healthcare.googleapis.com:8080/v1/"
    text = remedy(examination, NetworkFault.TLS_PLAIN, url, section={"BaseUrl": url})
    assert text.startswith("take the port out of BaseUrl")


def test_a_network_without_a_route(examination):
    message = "Network is unreachable"
    text = remedy(examination, NetworkFault.CONNECTION, GATEWAY, message)
    assert text.startswith("give this machine a way to gateway.example (ip route get)")


def test_a_host_that_the_environment_keeps_from_its_proxy(examination, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "gateway.example")
    text = remedy(examination, NetworkFault.CONNECTION, GATEWAY)
    assert "take what stands for gateway.example out of no_proxy" in text


def test_a_host_that_the_environment_keeps_from_the_configured_proxy(examination, monkeypatch):
    whole = {"HttpProxy": "proxy.example:3128"}
    assert "no_proxy" not in remedy(examination, NetworkFault.CONNECTION, GATEWAY, whole=whole)
    monkeypatch.setenv("no_proxy", "gateway.example")
    text = remedy(examination, NetworkFault.CONNECTION, GATEWAY, whole=whole)
    assert "HttpProxy names a proxy, but no_proxy in the environment keeps gateway.example" in text


# -- Authorities ----------------------------------------------------------------------------------


def test_the_file_of_authorities(examination, tmp_path):
    fault = NetworkFault.TLS_AUTHORITY
    assert "let HttpsCACertificates name FILE" in remedy(examination, fault, GATEWAY)
    own = {"HttpsCACertificates": str(tmp_path / "own.pem")}
    assert f"cat AUTHORITY.pem >> {tmp_path}/own.pem" in remedy(
        examination, fault, GATEWAY, whole=own
    )
    system = {"HttpsCACertificates": "/etc/ssl/certs/ca-certificates.crt"}
    assert "update-ca-certificates" in remedy(examination, fault, GATEWAY, whole=system)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Permission denied", "let the user {user} read the file"),
        ("the file is DER, not PEM", "openssl x509 -inform DER"),
        ("the file is empty", "name a PEM file that can be read"),
    ],
)
def test_a_file_of_authorities_that_cannot_be_used(examination, message, expected):
    assert expected in remedy(examination, NetworkFault.CA_CERTIFICATES, GATEWAY, message)


# -- Proxies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [one for one in NetworkFault if one.startswith("proxy_")])
def test_the_option_of_the_proxy_is_named(examination, monkeypatch, fault):
    text = remedy(examination, fault, GATEWAY, whole={"HttpProxy": "me:pw-1@proxy.example:3128"})
    assert "correct HttpProxy in Orthanc's configuration" in text
    assert "pw-1" not in text
    monkeypatch.setenv("HTTPS_PROXY", "http://me:pw-1@proxy.example:3128")
    text = remedy(examination, fault, GATEWAY)
    assert "correct HTTPS_PROXY in the environment of Orthanc (systemctl edit orthanc)" in text
    assert "pw-1" not in text


def test_a_proxy_that_is_not_needed(examination, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert "add gateway.example to no_proxy there" in remedy(
        examination, NetworkFault.PROXY_REFUSED, GATEWAY
    )
    assert "add gateway.example to no_proxy in the environment of Orthanc" in remedy(
        examination, NetworkFault.PROXY_REFUSED, GATEWAY, whole={"HttpProxy": "proxy.example:3128"}
    )


# -- The metadata server --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "is_it"),
    [
        ("http://metadata.google.internal/computeMetadata/v1/", True),
        ("http://169.254.169.254/", True),
        ("http://127.0.0.1:8080/computeMetadata/v1/instance", True),
        (GOOGLE, False),
    ],
)
def test_the_metadata_server(examination, url, is_it):
    assert is_metadata_server(url) == is_it
    text = remedy(examination, NetworkFault.TIMEOUT, url)
    assert text.startswith("this machine is not on Google Cloud") == is_it
