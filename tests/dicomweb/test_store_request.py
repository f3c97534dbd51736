"""How a request is sent: its pieces, its end, and the ways in which it ends too early."""

from __future__ import annotations

import re
from contextlib import contextmanager

import pytest

from orthanc_gcp.dicomweb import DicomStore, Part, SourceError, StoreError
from orthanc_gcp.errors import TokenError
from orthanc_gcp.transport.authorization import Authorization
from tests.dicomweb.parts import part_from
from tests.dicomweb.receiving import LARGE, Recorder, client, large
from tests.support.raw_server import (
    RawServer,
    reset,
)


def test_the_body_is_multipart_and_of_the_length_announced():
    recorder = Recorder()
    with RawServer(recorder) as server:
        store = DicomStore(server.url, lambda: Authorization("ya29.secret", "p"))
        parts = [part_from([b"a", b"", b"bc"], 3), part_from([b"d" * 300_000], 300_000, "1.2.4")]
        stored = store.store(parts)
        store.store([part_from([], 0)])
    head = server.heads[0].decode()
    boundary = re.search(
        r'Content-Type: multipart/related; type="application/dicom"; boundary=(\w{48})\r\n', head
    )[1]
    assert head.startswith("POST /stores/s/dicomWeb/studies HTTP/1.1\r\n")
    assert "\r\nAccept: application/dicom+json\r\n" in head
    assert "\r\nAuthorization: Bearer ya29.secret\r\n" in head
    assert "\r\nx-goog-user-project: p\r\n" in head
    assert "Transfer-Encoding" not in head
    line = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n"
    body = f"{line}abc\r\n{line}{'d' * 300_000}\r\n--{boundary}--\r\n"
    assert recorder.bodies[0] == body.encode()
    assert stored.bytes_sent == len(body)
    assert boundary not in server.heads[1].decode()


@pytest.mark.parametrize(
    ("pieces", "size", "words"),
    [
        ([b"x" * 99], 100, "99 of the 100 bytes announced"),
        ([], 100, "0 of the 100 bytes announced"),
        ([b"x" * 100, b"x"], 100, "more than the 100 bytes announced"),
        ([b"x" * 101], 100, "more than the 100 bytes announced"),
        ([b"x"], 0, "more than the 0 bytes announced"),
        ([b"x" * 500_000, b"x"], 500_000, "more than the 500000 bytes announced"),
    ],
)
def test_a_part_of_another_size_is_never_sent_whole(pieces, size, words):
    recorder = Recorder()
    with RawServer(recorder) as server:
        with pytest.raises(SourceError, match=words) as caught:
            client(server).store([part_from([b"good"], 4, "1.1"), part_from(pieces, size)])
        assert recorder.done.wait(5)
    assert (caught.value.sop_instance_uid, caught.value.reason) == ("1.2.3", "size")
    assert not recorder.bodies[0].endswith(b"--\r\n")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BrokenPipeError(32, "the disk"), "unreadable"),
        (ConnectionResetError(104, "the disk", "a file"), "unreadable"),
        (KeyError("Doe^John"), "unreadable"),
        (TokenError("the disk", reason="timeout"), "timeout"),
    ],
)
@pytest.mark.parametrize("when", ["opening", "reading", "closing"])
def test_a_part_that_cannot_be_read(error, reason, when):
    """A source's broken pipe is not taken for the store's."""

    @contextmanager
    def source():
        if when == "opening":
            raise error
        yield iter([b"x" * 100]) if when == "closing" else failing()
        raise error

    def failing():
        yield b"x" * 50
        raise error

    recorder = Recorder()
    with RawServer(recorder) as server:
        with pytest.raises(SourceError, match=r"the disk|KeyError") as caught:
            client(server).store([Part("1", "1.2", "1.2.3", 100, source)])
        assert "Doe" not in str(caught.value)
        assert recorder.done.wait(5)
    assert (caught.value.sop_instance_uid, caught.value.reason) == ("1.2.3", reason)
    assert not recorder.bodies[0].endswith(b"--\r\n")


def test_sources_are_closed_whatever_happens():
    opened = []

    @contextmanager
    def source():
        opened.append(True)
        try:
            yield iter([bytes(1_000_000)] * 50)
        finally:
            opened.pop()

    def refuse(connection, head):
        reset(connection)

    with RawServer(refuse) as server:
        with pytest.raises(StoreError) as caught:
            client(server).store([Part("1", "1.2", "1.2.3", LARGE, source)])
        assert not opened
    assert (caught.value.reason, caught.value.retryable) == ("network", True)


def test_rate_limits_and_stopping():
    pieces = []
    recorder = Recorder()
    with RawServer(recorder) as server:
        store = client(server)
        stored = store.store([large(10_000_000)], throttle=pieces.append)
        assert sum(pieces) == stored.bytes_sent > 10_000_000
        assert max(pieces) <= 256 * 1024
        recorder.done.clear()
        sent = []
        with pytest.raises(StoreError, match="stopped") as caught:
            store.store([large()], throttle=sent.append, stop=lambda: len(sent) == 3)
        assert (caught.value.reason, caught.value.retryable) == ("aborted", True)
        assert recorder.done.wait(5)
        assert len(recorder.bodies[-1]) == sum(sent)


@pytest.mark.parametrize("size", [4, 500_000])
def test_whether_it_may_end_is_asked_before_its_last_piece(size):
    recorder = Recorder()
    with RawServer(recorder) as server:
        store, asked = client(server), list[int]()
        with pytest.raises(StoreError, match="not to be sent any more") as caught:
            store.store([part_from([b"x" * size], size)], may_end=lambda: bool(asked.append(1)))
        assert (caught.value.reason, len(asked)) == ("aborted", 1)
        assert recorder.done.wait(5)
        store.store([part_from([b"x" * size], size)], may_end=lambda: True)
    assert b"--\r\n" not in recorder.bodies[0][-4:]
    assert recorder.bodies[-1].endswith(b"--\r\n")


def test_small_pieces_travel_together():
    pieces = []
    with RawServer(Recorder()) as server:
        parts = [part_from([b"x" * 10] * 100, 1000, f"1.{number}") for number in range(200)]
        client(server).store(parts, throttle=pieces.append)
    assert min(pieces[:-1]) >= 64 * 1024
    assert len(pieces) <= 4
