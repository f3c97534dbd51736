"""Bodies, masks, sizes and addresses, as requests bring them."""

from __future__ import annotations

import json

import pytest
from starlette.requests import Request

from orthanc_gcp.emulator.http.requests import (
    MAX_BRACKETS,
    field_mask,
    origin,
    page_size,
    raw_path,
    read_limited,
    read_object,
    skip_body,
)
from orthanc_gcp.emulator.http.responses import Refusal
from tests.emulator.http.asgi import make_request, run


def test_a_body_in_pieces() -> None:
    assert run(read_limited(make_request(b"ab", b"", b"c"), 3)) == b"abc"


def test_a_body_that_is_too_long_is_not_read_to_its_end() -> None:
    request = make_request(b"ab", b"cd", b"ef")
    with pytest.raises(Refusal) as caught:
        run(read_limited(request, 3))
    message = json.loads(caught.value.response.body)["error"]["message"]
    assert message == "Request payload size exceeds the limit: 3 bytes."
    assert run(request.receive())["body"] == b"ef"


def test_a_body_that_nobody_wants() -> None:
    request = make_request(b"ab", b"cd")
    run(skip_body(request))
    assert run(request.receive())["type"] == "http.disconnect"


def test_an_object() -> None:
    assert run(read_object(make_request(b'{"a"', b": 1}"))) == {"a": 1}
    assert run(read_object(make_request())) == {}


MANY = b'{"a": [' + b"[]," * MAX_BRACKETS + b"0]}"


@pytest.mark.parametrize("body", [b"[]", b"{", b"1", b"\xff", b"[" * 100_000, MANY], ids=range(6))
def test_what_is_no_object(body: bytes) -> None:
    with pytest.raises(Refusal, match="400"):
        run(read_object(make_request(body)))


def test_a_mask() -> None:
    names = ("labels", "name")
    assert field_mask(make_request(query="updateMask=labels,,name"), names) == ["labels", "name"]
    for query in ("", "updateMask=", "updateMask=labels,other"):
        with pytest.raises(Refusal, match="400"):
            field_mask(make_request(query=query), names)


@pytest.mark.parametrize(
    ("query", "size"),
    [("", 100), ("pageSize=0", 100), ("pageSize=1", 1), ("pageSize=5000", 1000)],
)
def test_sizes_of_pages(query: str, size: int) -> None:
    assert page_size(make_request(query=query)) == size


@pytest.mark.parametrize("size", ["-1", "x", "1.5", ""])
def test_sizes_that_cannot_be(size: str) -> None:
    with pytest.raises(Refusal, match="400"):
        page_size(make_request(query=f"pageSize={size}"))


def asked(
    host: str | None, address: str = "127.0.0.1", port: int = 8085, scheme: str = "http"
) -> Request:
    headers = [] if host is None else [("Host", host)]
    return make_request(headers=headers, server=(address, port), scheme=scheme)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (asked("127.0.0.1:8085"), "http://127.0.0.1:8085"),
        (asked("localhost:8085"), "http://localhost:8085"),
        # The port is added where only the header lacks it.
        (asked("127.0.0.1"), "http://127.0.0.1:8085"),
        (asked("localhost"), "http://localhost:8085"),
        (asked(None), "http://127.0.0.1:8085"),
        (asked("127.0.0.1", port=80), "http://127.0.0.1"),
        (asked("127.0.0.1", port=443, scheme="https"), "https://127.0.0.1"),
        (asked("192.0.2.1", "192.0.2.1"), "http://192.0.2.1:8085"),
        (asked("[::1]:8085", "::1"), "http://[::1]:8085"),
        (asked("[::1]", "::1"), "http://[::1]:8085"),
        (asked(None, "::1"), "http://[::1]:8085"),
        (asked("", "192.0.2.1"), "http://192.0.2.1:8085"),
        # Somebody in between may forward from the default port.
        (asked("healthcare.googleapis.com"), "http://healthcare.googleapis.com"),
        (asked("localhost", "192.0.2.1"), "http://localhost"),
    ],
)
def test_the_address_that_a_client_wrote(request_: Request, expected: str) -> None:
    assert origin(request_) == expected


def test_a_path_as_the_client_wrote_it() -> None:
    request = make_request()
    request.scope["raw_path"] = b"/a%2Fb/%C3%A9"
    assert raw_path(request) == "/a%2Fb/%C3%A9"
