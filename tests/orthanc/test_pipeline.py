"""Many small answers at once, and nothing that is not plain taken for one."""

from __future__ import annotations

import time

import pytest

from orthanc_gcp.orthanc.pipeline import AT_ONCE, LONGEST_BODY, LONGEST_HEAD, small_answers
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.support.orthanc import Orthanc, free_port
from tests.support.raw_server import RawServer, answer, hang_up
from tests.support.site import make_instance

PATHS = [f"/{number}" for number in range(5)]


def path_of(head: bytes) -> bytes:
    return head.split(b" ")[1].removeprefix(b"/stores/s/dicomWeb")


def echo(connection, head) -> None:
    connection.sendall(answer(path_of(head)))


def asked(behave, paths=PATHS, timeout=5.0, **headers):
    with RawServer(behave) as server:
        return small_answers(server.url, paths, headers, timeout), server.heads


def test_each_answer_is_that_of_its_path():
    paths = [f"/{number}" for number in range(3 * AT_ONCE + 1)]
    found, heads = asked(echo, paths, Authorization="Basic eDp5")
    assert found == {path: (200, path.encode()) for path in paths}
    assert all(b"\r\nAuthorization: Basic eDp5\r\n" in head for head in heads)


def test_a_real_orthanc(tmp_path):
    with Orthanc(tmp_path, {}, plugins=()) as orthanc:
        rest = OrthancRest(orthanc.url)
        names = [orthanc.json("POST", "/instances", make_instance())["ID"] for _ in range(2)]
        paths = [f"/instances/{name}/attachments/dicom/md5" for name in names]
        absent = "/instances/none/attachments/dicom/md5"
        found = rest.short_texts([paths[0], absent, paths[1]])
        assert found == {path: rest.text(path) for path in paths}


ODD = {
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    "without a length": b"HTTP/1.1 200 OK\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "negative": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "long": answer(b"a" * (LONGEST_BODY + 1)),
    "of many headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * LONGEST_HEAD + b"\r\n",
    "old": b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na",
    "no HTTP": b"\xff\x00\r\n\r\n\r\n\r\n",
    "interim": b"HTTP/1.1 100 Continue\r\n\r\n",
    "compressed": answer(b"a", Content_Encoding="gzip"),
    "cut": answer(b"a", length=9),
    "nothing": b"",
}


@pytest.mark.parametrize("said", ODD.values(), ids=ODD)
def test_what_is_not_plain_ends_it(said):
    def behave(connection, head):
        if path_of(head) == b"/2":
            connection.sendall(said)
            hang_up(connection)
        else:
            echo(connection, head)

    found, _ = asked(behave)
    assert found == {path: (200, path.encode()) for path in PATHS[:2]}


def test_other_statuses_are_passed_on():
    def behave(connection, head):
        connection.sendall(answer(b"", "404 Not Found" if path_of(head) == b"/1" else "200 OK"))

    found, _ = asked(behave)
    assert {path: status for path, (status, _) in found.items()} == {
        path: 404 if path == "/1" else 200 for path in PATHS
    }


def test_one_answer_too_many_ends_it():
    """What follows would be taken for the answer to something else."""
    paths = [f"/{number}" for number in range(2 * AT_ONCE)]

    def behave(connection, head):
        more = answer(b"more") if path_of(head) == f"/{AT_ONCE - 1}".encode() else b""
        connection.sendall(answer(path_of(head)) + more)

    found, _ = asked(behave, paths)
    assert len(found) == AT_ONCE


def test_one_that_is_slow_is_not_waited_for_longer_than_is_said():
    def behave(connection, head):
        echo(connection, head)
        for _ in range(20):
            time.sleep(0.05)
            connection.sendall(b"H")

    began = time.monotonic()
    found, _ = asked(behave, timeout=0.2)
    assert list(found) == ["/0"]
    assert time.monotonic() - began < 0.9, "it would have waited for a second"


@pytest.mark.parametrize("url", ["https://127.0.0.1", "http://", "http://127.0.0.1:99999"])
def test_what_cannot_be_asked_so(url):
    assert small_answers(url, PATHS, {}, 1) == {}
    assert small_answers(f"http://127.0.0.1:{free_port()}", ["/ä"], {}, 1) == {}
