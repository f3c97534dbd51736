"""Whether modalities answer, and how fast: DCMTK's storescp, and what is none."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from contextlib import suppress

import pytest

from orthanc_gcp import configuration
from orthanc_gcp.doctor.dimse.modalities import check_modalities
from orthanc_gcp.doctor.findings import Result
from tests.support.orthanc import free_port, wait_until


def check(*entries):
    modalities = {str(number): one for number, one in enumerate(entries)}
    return list(check_modalities(configuration.read({"DicomModalities": modalities})))


@pytest.fixture
def storescp(tmp_path):
    """Starts one with an environment; its port."""
    running = []

    def start(**environment):
        port = free_port()
        own = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
        command = ["storescp", "-od", str(tmp_path), str(port)]
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
    assert "takes 4" in slow.cause
    (quick,) = check(["SCP", "127.0.0.1", storescp(TCP_NODELAY="1")])
    assert (quick.result, quick.check) == (Result.PASSED, "modality SCP")


def test_nobody_is_there_or_it_wants_tls():
    found = check(
        ["GONE", "127.0.0.1", free_port()],
        {"AET": "TLS", "Host": "127.0.0.1", "Port": 1, "UseDicomTls": True},
    )
    assert [one.result for one in found] == [Result.WARNING, Result.SKIPPED]
    assert "Connection refused" in found[0].cause
    assert check() == []


REJECTION = bytes([3, 0, 0, 0, 0, 4, 0, 1, 1, 7])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "answers no DICOM"),
        (b"", "ends the connection"),
        (REJECTION, "it is not called NONE"),
        (REJECTION[:9] + b"\x03", "it does not know ORTHANC"),
        (bytes([7, 0, 0, 0, 0, 4, 0, 0, 0, 0]), "aborts the association"),
        (bytes([3, 0, 0, 0, 0, 0]), "rejects the association"),
        (bytes([2, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 2, 0, 0]), "was not asked for"),
        (bytes([2, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 8, 0, 0, 0, 4, 1, 3, 9, 9]), "has no status"),
    ],
)
def test_what_is_no_modality(answer, words):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection, suppress(ConnectionError):
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
