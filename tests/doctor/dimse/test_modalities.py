"""Whether modalities answer, and how fast: DCMTK's storescp, by TLS too, and what is none."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from pydicom import dcmread

from orthanc_gcp import configuration
from orthanc_gcp.doctor.dimse.modalities import check_modalities
from orthanc_gcp.doctor.findings import Result
from orthanc_gcp.gateway.retrieve.associate_pdus import pdu
from tests.support.certificates import Authority
from tests.support.orthanc import free_port, wait_until


def check(*entries, store_to=(), folder=Path(), **options):
    modalities = {str(number): one for number, one in enumerate(entries)}
    settings = configuration.read({"DicomModalities": modalities, **options}, folder)
    return list(check_modalities(settings, store_to))


@pytest.fixture
def storescp(tmp_path):
    """Starts one with arguments and an environment; its port."""
    running = []

    def start(*arguments, **environment):
        port = free_port()
        own = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
        command = ["storescp", "-od", str(tmp_path), *map(str, arguments), str(port)]
        running.append(subprocess.Popen(command, env={**own, **environment}))

        def listens():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_until(listens)
        return port

    yield start
    for process in running:
        process.kill()
        process.wait()


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="only Linux is asked to")
def test_the_stall_and_its_remedy(storescp):
    (slow,) = check(["SCP", "127.0.0.1", storescp()])
    assert slow.result is Result.WARNING
    assert "TCP_NODELAY=1" in slow.remedy
    assert "waits for TCP's delayed acknowledgement" in slow.cause
    (quick,) = check(["SCP", "127.0.0.1", storescp(TCP_NODELAY="1")])
    assert (quick.result, quick.check) == (Result.PASSED, "modality SCP")


def test_an_instance_is_stored_where_it_is_wanted(storescp, tmp_path):
    port = storescp(TCP_NODELAY="1")
    found = check(["SCP", "127.0.0.1", port], ["OTHER", "127.0.0.1", port], store_to=["SCP"])
    assert [one.check for one in found] == [
        "modality SCP",
        "modality SCP, C-STORE",
        "modality OTHER",
    ]
    assert all(one.result is Result.PASSED for one in found)
    (stored,) = tmp_path.iterdir()
    assert dcmread(stored).PatientID == "orthanc-gcp"
    refusing = storescp("--refuse")
    (echo, stored) = check(["SCP", "127.0.0.1", refusing], store_to=["SCP"])
    assert "rejects the association" in stored.cause
    assert "no C-ECHO" in echo.cause


def test_nobody_is_there():
    found = check(["GONE", "127.0.0.1", free_port()], ["ODD", "a..b", 104])
    assert [one.result for one in found] == [Result.WARNING, Result.WARNING]
    assert "Connection refused" in found[0].cause
    assert "Host is no name" in found[1].cause
    assert check() == []


# -- TLS ------------------------------------------------------------------------------------------


@pytest.fixture
def authorities(tmp_path_factory):
    """Two, of which each has issued a certificate of a server."""
    made = []
    for _ in range(2):
        authority = Authority(tmp_path_factory.mktemp("authority"))
        made.append((authority, *authority.issue("127.0.0.1")))
    return made


def options(authority, certificate, key):
    return {
        "DicomTlsCertificate": str(certificate),
        "DicomTlsPrivateKey": str(key),
        "DicomTlsTrustedCertificates": str(authority.file),
    }


def secured(port):
    return {"AET": "SCP", "Host": "127.0.0.1", "Port": port, "UseDicomTls": True}


def test_a_modality_by_tls(storescp, authorities, tmp_path):
    authority, certificate, key = authorities[0]
    port = storescp("+tls", key, certificate, "+cf", authority.file, TCP_NODELAY="1")
    found = check(secured(port), store_to=["SCP"], **options(*authorities[0]))
    assert [one.result for one in found] == [Result.PASSED] * 2, found
    assert f"C-STORE at 127.0.0.1:{port} by TLS in" in found[1].cause
    assert len(list(tmp_path.iterdir())) == 1

    # It trusts somebody else, and so do we.
    _, other_certificate, other_key = authorities[1]
    (found,) = check(secured(port), **options(authority, other_certificate, other_key))
    assert found.result is Result.WARNING
    assert "certificate of DicomTlsCertificate" in found.cause
    assert "trusted there" in found.remedy
    (found,) = check(secured(port), **options(*authorities[1]))
    assert "its certificate is not accepted" in found.cause
    assert "DicomTlsTrustedCertificates" in found.remedy
    # We do not speak TLS, and it does.
    (found,) = check(["SCP", "127.0.0.1", port])
    assert "UseDicomTls" in found.cause


def test_a_certificate_that_has_expired(storescp, authorities):
    authority, certificate, key = authorities[0]
    own = options(*authorities[0])
    authority.issue("127.0.0.1", days=-1)
    port = storescp("+tls", key, certificate, "-ic")
    (found,) = check(secured(port), **own)
    assert "its certificate is not accepted: certificate has expired" in found.cause
    assert found.remedy == "have its certificate renewed"


def test_a_modality_that_speaks_no_tls(storescp, authorities):
    (found,) = check(secured(storescp()), **options(*authorities[0]))
    assert "TLS" in found.cause
    assert "leave UseDicomTls out" in found.remedy


def test_tls_without_certificates(tmp_path):
    (found,) = check(secured(1))
    assert (found.result, "DicomTlsCertificate: missing" in found.cause) == (Result.WARNING, True)
    wrong = {"DicomTlsCertificate": "no.pem", "DicomTlsPrivateKey": "no.key"}
    (found,) = check(secured(1), folder=tmp_path, **wrong)
    assert "expected PEM files" in found.cause
    assert "DicomTls" in found.remedy


REJECTION = bytes([3, 0, 0, 0, 0, 4, 0, 1, 1, 7])
ACCEPTANCE = pdu(2, bytes(68) + bytes([0x21, 0, 0, 4, 1, 0, 0, 0]))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "answers no DICOM"),
        (b"", "ends the connection"),
        (REJECTION, "it is not called NONE"),
        (REJECTION[:9] + b"\x03", "it does not know ORTHANC"),
        (bytes([7, 0, 0, 0, 0, 4, 0, 0, 0, 0]), "aborts the association"),
        (bytes([3, 0, 0, 0, 0, 0]), "rejects the association"),
        (bytes([2, 0, 0, 0, 0, 0]), "not what was to be asked"),
        (pdu(2, bytes(68) + bytes([0x21, 0, 0, 9])), "with nonsense"),
        (ACCEPTANCE + bytes([4, 0, 0, 0, 0, 2, 0, 0]), "was not asked for"),
        (ACCEPTANCE + bytes([4, 0, 0, 0, 0, 8, 0, 0, 0, 4, 1, 3, 9, 9]), "has no status"),
        (bytes([0x15, 3, 3, 0, 2, 2, 0x28]), "it wants TLS"),
    ],
)
def test_what_is_no_modality(answer, words):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.recv(4096)
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        (found,) = check(["NONE", "127.0.0.1", server.getsockname()[1]])
        thread.join()
    assert found.result is Result.WARNING
    assert words in found.cause
