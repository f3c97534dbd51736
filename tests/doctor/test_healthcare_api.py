"""Small requests to a store with one identity's token, and what is no answer of Google's."""

from __future__ import annotations

import json

import pytest

from orthanc_gcp.doctor.healthcare_api import Store
from orthanc_gcp.errors import StoreError
from orthanc_gcp.transport.authorization import Authorization
from tests.support.emulator import STORE_PATH
from tests.support.raw_server import answer, says


@pytest.fixture
def store(examination, serve):
    def make(said: bytes, quota_project: str | None = None) -> Store:
        said = said.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
        store_server = serve(says(said))
        found = examination(section={"BaseUrl": f"http://127.0.0.1:{store_server.port}/v1"})
        made = Store(
            found.account,
            found.settings,
            found.transport,
            Authorization("ya29.token", quota_project),
        )
        made.server = store_server
        return made

    return make


def google(status: str, code: str, message: str, **details: str) -> bytes:
    error = {"code": int(status[:3]), "status": code, "message": message}
    if details:
        error["details"] = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", **details}]
    return answer(json.dumps({"error": error}).encode(), status, kind="application/json")


def refusal(store, said: bytes) -> StoreError:
    with pytest.raises(StoreError) as caught:
        store(said).request("")
    return caught.value


def test_a_request_has_the_token_and_the_quota_project(store):
    made = store(answer(b"[]"), "billed")
    assert made.parsed(made.request("/dicomWeb/studies?limit=1")) == []
    (head,) = made.server.heads
    assert head.startswith(f"GET /v1/{STORE_PATH}/dicomWeb/studies?limit=1 ".encode())
    assert b"authorization: bearer ya29.token\r\n" in head.lower()
    assert b"x-goog-user-project: billed\r\n" in head.lower()


def test_the_permissions_that_are_granted(store):
    body = json.dumps({"permissions": ["a.read"]}).encode()
    assert store(answer(body)).permissions(["a.read", "a.write"]) == {"a.read"}
    assert store(answer(b"{}")).permissions(["a.read"]) == set()
    assert store(answer(b"[]")).permissions(["a.read"]) == set()


def test_an_empty_answer_is_nothing(store):
    made = store(answer(b" \n"))
    assert made.parsed(made.request("")) is None


@pytest.mark.parametrize(
    ("said", "reason", "text"),
    [
        (
            google("403 Forbidden", "PERMISSION_DENIED", "No", reason="SERVICE_DISABLED"),
            "SERVICE_DISABLED",
            "Google answered 403: No",
        ),
        (
            google("404 Not Found", "NOT_FOUND", "DICOM store not found: x"),
            "NOT_FOUND",
            "DICOM store not found",
        ),
        (
            google("403 Forbidden", "PERMISSION_DENIED", "insufficient authentication scopes."),
            "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
            "scopes",
        ),
        (answer(b"", "403 Forbidden"), "http_403", "without a reason (0 bytes)"),
        (answer(b"", "302 Found", Location="/x"), "http_302", "it redirects elsewhere"),
        (answer(b"no", "404 Not Found", kind="text/plain"), "not_google", "404 with text/plain"),
        (answer(b"<p>", "404 Not Found"), "not_google", "404 with a web page"),
        (
            google("404 Not Found", "NOT_FOUND", "Method not found."),
            "not_google",
            "this is not the address of a DICOM store",
        ),
    ],
)
def test_what_a_refusal_says(store, said, reason, text):
    error = refusal(store, said)
    assert error.reason == reason
    assert text in str(error)
    assert "ya29" not in str(error)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (answer(b"<html>log in</html>", kind="text/html"), "web_page"),
        (answer(b"ok", kind="text/plain"), "not_google"),
        (answer(b"[" * 100_000), "not_google"),
    ],
)
def test_an_answer_that_is_not_googles(store, said, reason):
    made = store(said)
    with pytest.raises(StoreError, match="this is not the address of a DICOM store") as caught:
        made.parsed(made.request(""))
    assert caught.value.reason == reason
