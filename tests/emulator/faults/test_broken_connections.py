"""Connections that break: before an answer, in it, or while a request arrives."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import urllib3

from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.client import Client, make_dicom, multipart, read
from tests.emulator.faults.connections import (
    LARGE,
    Raw,
    body_of,
    statuses,
    stored,
    upload,
)


def test_a_reset_before_the_answer(raw: Raw, own_client: Client, fail: Any) -> None:
    fail({"cut": "reset"})
    raw.send("GET", "/studies")
    with pytest.raises(ConnectionResetError):
        raw.receive()
    fail()
    assert own_client.get("/studies").status == 204


def test_a_reset_in_the_request(raw: Raw, own_client: Client, fail: Any) -> None:
    fail({"cut": "resetRequest", "method": "POST"})
    content = make_dicom(pixels=LARGE)
    # Half of it suffices: nobody waits for the rest.
    upload(raw, content, len(content) // 2)
    with pytest.raises(ConnectionResetError):
        raw.receive()
    assert stored(own_client) == []


def test_a_reset_in_the_request_keeps_what_came_whole(
    raw: Raw, own_client: Client, fail: Any
) -> None:
    first, second = make_dicom(), make_dicom()
    body = multipart([first, second], "b")
    fail({"cut": "resetRequest", "afterBytes": len(body) - 10, "method": "POST"})
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    # A body in chunks announces no length.
    chunked = b"%x\r\n%b\r\n" % (len(body), body)
    raw.send("POST", "/studies", chunked, Content_Type=kind, Transfer_Encoding="chunked")
    with pytest.raises(ConnectionResetError):
        raw.receive()
    (match,) = stored(own_client)
    assert match["00080018"]["Value"] == [read(first).SOPInstanceUID]


def test_a_reset_in_a_request_of_unknown_length(raw: Raw, own_client: Client, fail: Any) -> None:
    fail({"cut": "resetRequest", "method": "POST"})
    kind = {"Content_Type": "application/dicom", "Transfer_Encoding": "chunked"}
    raw.send("POST", "/studies", b"", **kind)
    content = make_dicom(pixels=LARGE)[:65536]
    raw.socket.sendall(b"%x\r\n%b" % (len(content) + 1, content[:-1]))
    raw.socket.settimeout(0.2)
    with pytest.raises(TimeoutError):
        raw.socket.recv(1)
    raw.socket.settimeout(30)
    raw.socket.sendall(content[-1:])
    with pytest.raises(ConnectionResetError):
        raw.receive()
    assert stored(own_client) == []


def test_a_reset_in_a_request_that_is_shorter(raw: Raw, own_client: Client, fail: Any) -> None:
    fail({"cut": "resetRequest", "afterBytes": 10**9, "count": 1})
    upload(raw, make_dicom())
    with pytest.raises(ConnectionResetError):
        raw.receive()
    assert len(stored(own_client)) == 1


@pytest.mark.parametrize("after", [None, 5, 10**9])
def test_an_answer_that_ends_early(
    raw: Raw, own_client: Client, fail: Any, after: int | None
) -> None:
    own_client.store(make_dicom())
    whole = own_client.get("/studies").data
    fail({"cut": "truncate"} if after is None else {"cut": "truncate", "afterBytes": after})
    raw.send("GET", "/studies")
    answer = raw.receive()
    assert f"content-length: {len(whole)}\r\n".encode() in answer
    expected = len(whole) // 2 if after is None else min(after, len(whole) - 1)
    assert body_of(answer) == whole[:expected]


def test_a_stream_that_ends_early(raw: Raw, own_client: Client, fail: Any) -> None:
    large = make_dicom(pixels=LARGE)
    own_client.store(large)
    study = f"/studies/{read(large).StudyInstanceUID}"
    fail({"cut": "truncate", "afterBytes": 3_000_000, "count": 1}, {"cut": "truncate"})
    accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    for expected in (3_000_000, 65536):
        connection = Raw(own_client)
        with closing(connection.socket):
            connection.send("GET", study, Accept=accept)
            answer = body_of(connection.receive())
        assert not answer.endswith(b"0\r\n\r\n")
        assert expected < len(answer) < expected + 10_000
    with pytest.raises(urllib3.exceptions.ProtocolError):
        own_client.get(study, accept)


def test_a_small_stream_that_never_ends(own_client: Client, fail: Any) -> None:
    small = make_dicom()
    own_client.store(small)
    fail({"cut": "truncate"})
    with pytest.raises(urllib3.exceptions.ProtocolError, match=r"IncompleteRead|ended prematurely"):
        own_client.get(f"/studies/{read(small).StudyInstanceUID}")


def test_an_answer_that_is_reset(raw: Raw, own_client: Client, fail: Any) -> None:
    own_client.store(make_dicom())
    fail({"cut": "resetAnswer"})
    raw.send("GET", "/studies")
    with pytest.raises(ConnectionResetError):
        raw.receive()


def test_answers_without_a_body_are_cut_too(own_client: Client, fail: Any) -> None:
    fail({"cut": "truncate", "count": 1}, {"cut": "resetAnswer", "count": 1})
    for complaint in ("without response", "reset by peer"):
        with pytest.raises(urllib3.exceptions.ProtocolError, match=complaint):
            own_client.get("/studies")
    assert statuses(own_client, 1) == [204]


def test_tls_connections_break_too(tmp_path: Path) -> None:
    with Emulator(Options(tmp_path, tls=True, write_credentials=tmp_path)) as emulator:
        client = Client(emulator.url, tmp_path, ca_certs=str(emulator.ca))
        client.store(make_dicom())
        for cut in ("reset", "resetRequest", "truncate", "resetAnswer"):
            emulator.fault_settings.change(faults=[{"cut": cut}])
            with pytest.raises(urllib3.exceptions.ProtocolError):
                client.get("/studies")
        client.pool.clear()
