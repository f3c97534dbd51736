"""Real multipart bodies, mutated: answered, and nothing that did not arrive whole is visible."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import suppress

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.emulator.client import (
    AS_STORED,
    DICOM_JSON,
    MULTIPART,
    Client,
    make_dicom,
    multipart,
    read,
    sample,
    split,
)

bounded = settings(
    max_examples=150,
    deadline=10_000,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
FILES = [make_dicom(), sample("CT_small.dcm"), make_dicom(bytes(1_100_000))]
BODIES = [
    multipart(FILES[:1], "x"),
    multipart(FILES[:2], "x"),
    multipart(FILES, "x"),
]


def described(content: bytes) -> bytes:
    """Return a request of JSON metadata and bulk data."""
    dataset = read(content)
    model = {**dataset.file_meta.to_json_dict(), **dataset.to_json_dict()}
    model["00080005"] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    model["7FE00010"] = {"vr": dataset["PixelData"].VR, "BulkDataURI": "pixels"}
    model.pop("FFFCFFFC", None)
    return (
        f"--x\r\nContent-Type: {DICOM_JSON}\r\n\r\n{json.dumps([model])}\r\n--x\r\n"
        "Content-Type: application/octet-stream\r\nContent-Location: pixels\r\n\r\n"
    ).encode() + (dataset.PixelData + b"\r\n--x--\r\n")


DESCRIBED = [described(content) for content in FILES[:2]]


@st.composite
def mutations(draw: st.DrawFn, bodies: list[bytes]) -> bytes:
    """Bodies to which something was done, up to three times."""
    body = draw(st.sampled_from(bodies))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(body)) | st.sampled_from(places(body)))
        body = draw(st.sampled_from(mutants(body, at, draw(st.binary(max_size=40)))))
    return body


def places(body: bytes) -> list[int]:
    """Return where it hurts: around delimiters, and where headers and contents begin."""
    found, at = [0, len(body)], -1
    while (at := body.find(b"--x", at + 1)) >= 0 and len(found) < 60:
        found += [at, at + 1, at + 3, at + 5, max(0, at - 1), max(0, at - 2)]
    return [place for place in found if place <= len(body)]


def mutants(body: bytes, at: int, junk: bytes) -> list[bytes]:
    nested = b"Content-Type: multipart/related; boundary=y\r\n\r\n--y\r\n\r\nDICM\r\n--y--\r\n"
    return [
        body[:at],
        body[at:],
        body + body,
        body[:at] + body + body[at:],
        body[:at] + junk + body[at:],
        body[:at] + junk + body[at + len(junk) :],
        body[:at] + body[at + 1 + len(junk) :],
        body[:at] + b"\r\n--x\r\n" + body[at:],
        body[:at] + b"\r\n--x--" + body[at:],
        body[:at] + b"\r\n--x\r\n" + nested + b"\r\n--x" + body[at:],
        body.replace(b"--x", b"--y"),
        body.replace(b"--x\r\n", b"--x \t\r\n"),
        body.replace(b"\r\n", b"\n"),
        body.replace(b"--x\r\n", b"--x\r\nX: " + junk * 10 + b"\r\n"),
        body.replace(b"--x\r\n", b"--x\r\nX: " + b"a" * 20_000 + b"\r\n"),
        body.replace(b"--x\r\n", b"--x\r\n" + b"X: a\r\n" * 5_000),
        body.replace(b"application/", b"text/"),
        body.replace(b"Content-", b"Content-Length: 3\r\nContent-"),
        body.replace(b"Content-", b"Content-Transfer-Encoding: base64\r\nContent-"),
    ]


def whole_parts(body: bytes) -> set[bytes]:
    """Return the contents between two delimiters, as nobody could read them more simply."""
    pieces = (b"\r\n" + body).split(b"\r\n--x")
    return {piece.partition(b"\r\n\r\n")[2] for piece in pieces[1:-1]}


def take_out(client: Client) -> list[bytes]:
    """Return everything that a store has, and empty it."""
    files = []
    for study in client.search("/studies"):
        path = study["00081190"]["Value"][0]
        response = client.get(path, AS_STORED)
        assert response.status == 200
        files += [content for _, content in split(response)]
        assert client.get(f"{path}/metadata").status == 200
        assert client.request("DELETE", path).status == 200
    return files


def send(client: Client, body: bytes, kind: str, size: int) -> int:
    def chunks() -> Iterator[bytes]:
        yield from (body[at : at + size] for at in range(0, len(body), size))

    content_type = f'multipart/related; type="{kind}"; boundary=x'
    sent = chunks() if size else body
    response = client.request(
        "POST", "/studies", sent, content_type=content_type, accept=DICOM_JSON
    )
    assert response.status in {200, 400, 409}, response.data
    return int(response.status)


sizes = st.sampled_from([0, 1000, 60_000])


@bounded
@given(mutations(BODIES), sizes)
def test_files(client: Client, body: bytes, size: int) -> None:
    status = send(client, body, "application/dicom", size)
    stored = take_out(client)
    assert set(stored) <= whole_parts(body)
    if status == 200:
        assert stored


@bounded
@given(mutations(DESCRIBED), sizes)
def test_metadata_and_bulk_data(client: Client, body: bytes, size: int) -> None:
    status = send(client, body, DICOM_JSON, size)
    stored = [read(content) for content in take_out(client)]
    whole = whole_parts(body)
    for dataset in stored:
        pixels = dataset.get("PixelData", b"")
        # A value of an odd length is padded.
        assert not pixels or {pixels, pixels[:-1]} & whole
    if status == 200:
        # An array without an instance is fine too.
        assert stored or b"[]" in body


@st.composite
def cut(draw: st.DrawFn, bodies: list[bytes]) -> tuple[bytes, bytes]:
    """A body, and as much of its beginning as arrives."""
    body = draw(st.sampled_from(bodies))
    at = draw(st.integers(0, len(body)) | st.sampled_from(places(body)))
    return body, body[:at]


@bounded
@given(cut(BODIES), st.integers(1, 100))
def test_bodies_that_break_off(client: Client, parts: tuple[bytes, bytes], more: int) -> None:
    """The connection ends before the length that was promised is there."""
    body, begin = parts
    assert post(client, begin, len(body) + more) == b""
    assert set(take_out(client)) <= set(FILES)


@bounded
@given(cut(BODIES[:2]).filter(lambda parts: len(parts[1]) < len(parts[0])))
def test_lengths_that_are_too_short(client: Client, parts: tuple[bytes, bytes]) -> None:
    """What is left over is the beginning of the next request, which it cannot be."""
    body, begin = parts
    answer = post(client, body, len(begin))
    # Where bytes are left unread, the kernel may take the answer back.
    assert not answer or answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 400"))
    assert set(take_out(client)) <= set(FILES)


def post(client: Client, body: bytes, length: int) -> bytes:
    """Send a body under any length; return all that comes until the connection ends."""
    host, _, port = client.url.removeprefix("http://").partition(":")
    head = (
        f"POST /v1/{client.store_name}/dicomWeb/studies HTTP/1.1\r\nHost: {host}:{port}\r\n"
        f"Authorization: Bearer {client.token}\r\nContent-Length: {length}\r\n"
        f"Content-Type: {MULTIPART}; boundary=x\r\n\r\n"
    )
    answer = b""
    with (
        socket.create_connection((host, int(port)), timeout=10) as connection,
        suppress(ConnectionError),
    ):
        connection.sendall(head.encode() + body)
        connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(65536):
            answer += piece
    return answer
