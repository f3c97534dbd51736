"""The time that uploads and retrievals may take."""

from __future__ import annotations

import pytest

from orthanc_gcp.emulator.server import Emulator
from tests.emulator.client import Client, make_dicom, path_of, read
from tests.emulator.faults.connections import LARGE, Raw, body_of, stored

SINGLE = "application/dicom; transfer-syntax=*"


def test_an_upload_that_takes_too_long(emulator: Emulator, own_client: Client) -> None:
    emulator.fault_settings.change(transactionTime=0.2)
    raw = Raw(own_client)
    content = make_dicom(LARGE)
    head = {"Content_Type": "application/dicom", "Content_Length": len(content)}
    raw.send("POST", "/studies", content[:1_000_000], Connection="close", **head)
    with raw.socket:
        answer = raw.receive()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"exceeded its deadline" in body_of(answer)
    emulator.fault_settings.change(transactionTime=1800)
    assert stored(own_client) == []
    assert own_client.store(content).status == 200


@pytest.mark.parametrize("accept", [SINGLE, 'multipart/related; type="application/dicom"'])
def test_a_retrieval_that_takes_too_long(
    emulator: Emulator, own_client: Client, accept: str
) -> None:
    content = make_dicom(LARGE)
    assert own_client.store(content).status == 200
    emulator.fault_settings.change(bandwidth=200_000, transactionTime=0.5)
    raw = Raw(own_client)
    raw.send("GET", path_of(read(content)), Accept=accept)
    with raw.socket:
        answer = raw.receive()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert 0 < len(body_of(answer)) < len(content)
    emulator.fault_settings.change(bandwidth=None, transactionTime=1800)
    assert own_client.get(path_of(read(content)), SINGLE).data == content


def test_what_takes_its_time_within_the_limit(emulator: Emulator, own_client: Client) -> None:
    emulator.fault_settings.change(transactionTime=30, bandwidth=10_000_000)
    content = make_dicom(LARGE)
    assert own_client.store(content).status == 200
    assert own_client.get(path_of(read(content)), SINGLE).data == content
