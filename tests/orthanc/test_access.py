"""How the Orthanc that a configuration describes is reached from this machine."""

from __future__ import annotations

import hashlib
import ssl

import pytest

from orthanc_gcp.configuration import read
from orthanc_gcp.errors import ConfigurationError, OrthancUnavailableError
from orthanc_gcp.orthanc import access
from tests.orthanc.orthanc_stub import stub
from tests.support.certificates import Authority
from tests.support.orthanc import free_port


@pytest.fixture
def certificate(tmp_path):
    """``both.pem``, as Orthanc wants it: the key, then the certificate."""
    certificate, key = Authority(tmp_path).issue("127.0.0.1")
    (tmp_path / "both.pem").write_text(key.read_text() + certificate.read_text())
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).hexdigest()


@pytest.mark.parametrize(
    ("options", "address"),
    [
        ({}, "http://127.0.0.1:8042/"),
        ({"HttpPort": 80}, "http://127.0.0.1:80/"),
        ({"SslEnabled": True}, "https://127.0.0.1:8042/"),
    ],
)
def test_where_orthanc_serves(options, address):
    assert access.address(read(options)) == address


def test_an_orthanc_that_does_not_serve():
    with pytest.raises(ConfigurationError, match="HttpServerEnabled is false"):
        access.address(read({"HttpServerEnabled": False}))


def test_the_certificate_that_orthanc_shows(tmp_path, certificate):
    assert access.fingerprint(read({"SslCertificate": "both.pem"}, tmp_path)) == certificate


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("none", "there is no certificate in"),
        ("-----BEGIN CERTIFICATE-----\n???\n-----END CERTIFICATE-----", "there is no certificate"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_file_without_a_certificate_is_told(tmp_path, content, words):
    if content is not None:
        (tmp_path / "certificate.pem").write_text(content)
    with pytest.raises(ConfigurationError, match=words):
        access.fingerprint(read({}, tmp_path))


def test_an_address_that_somebody_gave_goes_first():
    with stub({"GET /system": {"Name": "x"}}) as server:
        rest = access.client(read({"HttpPort": 1}), server.url + "/")
        assert (rest.url, rest.call("GET", "/system")) == (server.url, {"Name": "x"})


@pytest.mark.parametrize(
    "url", ["", "host:8042", "ftp://host/", "http://host:0/", "http://u:secret/x@h/", "http://h:x/"]
)
def test_an_address_that_is_none(url):
    with pytest.raises(ConfigurationError, match="Orthanc's address: expected") as caught:
        access.client(read({}), url or "nonsense")
    assert "secret" not in str(caught.value)


def test_an_orthanc_that_asks_for_a_user():
    settings = read({"AuthenticationEnabled": True, "RegisteredUsers": {"u": "p"}})
    with pytest.raises(ConfigurationError, match=r"in the variable WHERE, as http://USER:"):
        access.client(settings, variable="WHERE")
    assert access.client(settings, "http://u:p@127.0.0.1:8042/").url == "http://127.0.0.1:8042"
    assert access.client(settings, "http://elsewhere:8042/").url == "http://elsewhere:8042"


def test_an_orthanc_behind_tls_is_known_by_its_own_certificate(tmp_path, certificate):
    """Whatever name it bears, and only there."""
    settings = read({"SslEnabled": True, "SslCertificate": "both.pem"}, tmp_path)
    assert access.client(settings)._http.connection_pool_kw["assert_fingerprint"] == certificate
    assert access.own(settings)._http.connection_pool_kw["assert_fingerprint"] == certificate
    elsewhere = access.client(settings, "https://elsewhere/")
    assert "assert_fingerprint" not in elsewhere._http.connection_pool_kw


def test_the_orthanc_of_this_machine():
    port = free_port()
    with pytest.raises(OrthancUnavailableError):
        access.own(read({"HttpPort": port})).call("GET", "/system")
