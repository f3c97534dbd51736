"""How modalities are connected to: by Orthanc's options."""

from __future__ import annotations

import ssl

import pytest
from pydicom.uid import generate_uid

from orthanc_gcp import configuration
from orthanc_gcp.configuration import Modality
from orthanc_gcp.errors import ConfigurationError
from orthanc_gcp.gateway.retrieve.destinations import Destinations
from tests.emulator.client import make_dicom
from tests.gateway.retrieve.scp import EXPLICIT, SECONDARY, receiving
from tests.gateway.scu import keys, move
from tests.support.certificates import Authority

STUDY = generate_uid()


def made(modality, **options):
    settings = configuration.read({"GoogleCloudPlatform": {"Gateway": {}}, **options})
    return Destinations(settings, ("1.2", "X"))(modality)


def test_by_default():
    found = made(Modality("CT", "h", 104))
    assert (found.aet, found.host, found.port) == ("CT", "h", 104)
    assert (found.calling, found.timeout, found.tls) == ("ORTHANC", 10, None)
    assert found.maximum_length == 16384


def test_by_options():
    options = {"DicomAet": "US", "DicomScuTimeout": 3, "MaximumPduLength": 65536}
    found = made(Modality("CT", "h", 104), **options)
    assert (found.calling, found.timeout, found.maximum_length) == ("US", 3, 65536)
    own = made(Modality("CT", "h", 104, local_aet="OWN", timeout=7), **options)
    assert (own.calling, own.timeout) == ("OWN", 7)
    assert made(Modality("CT", "h", 104), DicomScuTimeout=0).timeout > 3600


def test_tls_without_a_certificate():
    entry = {"ct": {"AET": "CT", "Host": "h", "Port": 104, "UseDicomTls": True}}
    with pytest.raises(ConfigurationError, match=r"^DicomTlsCertificate: .* for UseDicomTls"):
        made(Modality("CT", "h", 104), DicomModalities=entry)


@pytest.fixture
def tls(tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.issue("127.0.0.1")
    return {
        "DicomTlsCertificate": str(certificate),
        "DicomTlsPrivateKey": str(key),
        "DicomTlsTrustedCertificates": str(authority.file),
    }


def server_context(tls):
    context = ssl.create_default_context(
        ssl.Purpose.CLIENT_AUTH, cafile=tls["DicomTlsTrustedCertificates"]
    )
    context.load_cert_chain(tls["DicomTlsCertificate"], tls["DicomTlsPrivateKey"])
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_moved_over_tls(gateway, client, tls):
    client.store(make_dicom(bytes(300_000), StudyInstanceUID=STUDY))
    with receiving({SECONDARY: [EXPLICIT]}, ssl_context=server_context(tls)) as received:
        running = gateway(received.port, {"UseDicomTls": True, "LocalAet": "OWN"}, **tls)
        status, _, _ = move(running.port, keys("STUDY", StudyInstanceUID=STUDY))
    assert (status.Status, status.NumberOfCompletedSuboperations) == (0, 1)
    assert received.calling == "OWN"


def test_a_certificate_that_is_not_trusted(gateway, client, tls, tmp_path, quick):
    client.store(make_dicom(StudyInstanceUID=STUDY))
    (tmp_path / "other").mkdir()
    other = {**tls, "DicomTlsTrustedCertificates": str(Authority(tmp_path / "other").file)}
    with receiving({SECONDARY: [EXPLICIT]}, ssl_context=server_context(tls)) as received:
        running = gateway(received.port, {"UseDicomTls": True}, **other)
        status, _, _ = move(running.port, keys("STUDY", StudyInstanceUID=STUDY))
    assert status.Status == 0xA702
    assert "TLS" in status.ErrorComment
    assert not received.requests
