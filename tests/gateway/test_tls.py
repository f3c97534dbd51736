"""TLS as Orthanc's options ask for it."""

from __future__ import annotations

import ssl

import pytest

from orthanc_gcp import configuration
from orthanc_gcp.errors import ConfigurationError
from orthanc_gcp.gateway.tls import client_context, server_context
from tests.support.certificates import Authority


def settings(folder, **options):
    return configuration.read({"GoogleCloudPlatform": {"Gateway": {}}, **options}, folder)


def test_without(tmp_path):
    assert server_context(settings(tmp_path)) is None


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, "DicomTlsCertificate"),
        ({"DicomTlsCertificate": "no.pem"}, "DicomTlsPrivateKey"),
        ({"DicomTlsCertificate": "no.pem", "DicomTlsPrivateKey": "no.key"}, "DicomTlsCertificate"),
    ],
)
def test_what_is_missing(tmp_path, options, named):
    with pytest.raises(ConfigurationError, match=f"^{named}"):
        server_context(settings(tmp_path, DicomTlsEnabled=True, **options))


def test_certificates(tmp_path):
    certificate, key = Authority(tmp_path).issue("127.0.0.1")
    options = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(certificate),
        "DicomTlsPrivateKey": str(key),
    }
    with pytest.raises(ConfigurationError, match=r"^DicomTlsTrustedCertificates: missing"):
        server_context(settings(tmp_path, **options))
    options["DicomTlsTrustedCertificates"] = "ca.pem"
    strict = server_context(settings(tmp_path, **options))
    assert strict.verify_mode is ssl.CERT_REQUIRED
    options["DicomTlsRemoteCertificateRequired"] = False
    assert server_context(settings(tmp_path, **options)).verify_mode is ssl.CERT_NONE


def test_connections_to_modalities(tmp_path):
    certificate, key = Authority(tmp_path).issue("127.0.0.1")
    options = {"DicomTlsCertificate": str(certificate), "DicomTlsPrivateKey": str(key)}
    with pytest.raises(ConfigurationError, match=r"^DicomTlsTrusted.*missing.* for UseDicomTls"):
        client_context(settings(tmp_path, **options))
    trusting = settings(tmp_path, **options, DicomTlsTrustedCertificates="ca.pem")
    found = client_context(trusting)
    assert (found.verify_mode, found.check_hostname) == (ssl.CERT_REQUIRED, False)
    options["DicomTlsRemoteCertificateRequired"] = False
    assert client_context(settings(tmp_path, **options)).verify_mode is ssl.CERT_NONE
