"""Reports to modalities that are not as they should be."""

from __future__ import annotations

import socket
import ssl

import pytest

from orthanc_gcp.configuration import Modality
from orthanc_gcp.gateway.commitment import report
from orthanc_gcp.gateway.commitment.report import Reporter, ReportError
from orthanc_gcp.ledger.commitments.rows import CommitmentRow, ReferenceRow
from tests.gateway.commitment import modality as modalities
from tests.support.orthanc import free_port

# pynetdicom leaves a socket that could not be connected to the garbage collector.
LEFT_OPEN = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

ROWS = [
    ReferenceRow(1, "1.1", "1.3", "committed", None),
    ReferenceRow(2, "1.1", "1.4", "failed", 0x0112),
]


def row(called="GOOGLE"):
    more = ("192.0.2.1", "decided", 0, None, None, 0.0)
    return CommitmentRow(1, "a", "9.1", "MODALITY", called, *more)


def send(modality, called="GOOGLE", tls=None):
    Reporter(tls).report(row(called), ROWS, modality)


@LEFT_OPEN
def test_nobody_is_there(monkeypatch):
    monkeypatch.setattr(report, "_CONNECTED_WITHIN", 1.0)
    with pytest.raises(ReportError, match="cannot be reached"):
        send(Modality("MODALITY", "127.0.0.1", free_port()))
    with pytest.raises(ReportError, match="cannot be reached"):
        send(Modality("MODALITY", "no.such.host.invalid", 104))
    with pytest.raises(ReportError, match="no modality"):
        send(None)


def test_an_aet_that_is_none():
    with pytest.raises(ReportError, match="AE title"):
        send(Modality("MODALITY", "127.0.0.1", free_port()), called="A\\B")


@LEFT_OPEN
def test_tls_without_certificates():
    wants = Modality("MODALITY", "127.0.0.1", free_port(), use_dicom_tls=True)
    with pytest.raises(ReportError, match="TLS"):
        send(wants)
    with pytest.raises(ReportError, match="cannot be reached"):
        send(wants, tls=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


def test_one_that_says_nothing(monkeypatch):
    monkeypatch.setattr(report, "_ANSWERED_WITHIN", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(ReportError, match="cannot be reached"):
            send(Modality("MODALITY", "127.0.0.1", port))


def test_one_that_takes_it():
    there = modalities.Modality()
    there.listen()
    try:
        send(Modality("MODALITY", "127.0.0.1", there.port))
    finally:
        there.stop()
    ((kind, dataset, calling),) = there.reports
    assert (kind, calling) == (report.FAILURES_EXIST, "GOOGLE")
    assert modalities.committed(dataset) == ["1.3"]
    assert modalities.failures(dataset) == {"1.4": 0x0112}
