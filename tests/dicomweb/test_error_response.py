"""Refusals and faults: what a program learns of them, and what a person does."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from orthanc_gcp.dicomweb import DicomStore, StoreError
from orthanc_gcp.errors import TokenError
from orthanc_gcp.transport.authorization import Authorization
from tests.dicomweb.parts import new_part, part_from
from tests.support.orthanc import free_port
from tests.support.proxy import Proxy
from tests.support.raw_server import RawServer, answer, says, stall

TOKEN = "ya29.very-secret"


def refused(url, token=lambda: Authorization(TOKEN), **options):
    with pytest.raises(StoreError) as caught:
        DicomStore(url, token, **{"timeout": 1, **options}).store([part_from([b"x"], 1)])
    assert TOKEN not in str(caught.value)
    return caught.value


def refused_with(status, body=b"", **headers):
    with RawServer(says(answer(body, status, **headers))) as server:
        return refused(server.url)


@pytest.mark.parametrize(
    ("status", "reason", "retryable"),
    [
        (301, "protocol", False),
        (307, "protocol", False),
        (400, "bad_request", False),
        (401, "unauthorized", True),
        (403, "forbidden", False),
        (404, "not_found", False),
        (406, "bad_request", False),
        (408, "timeout", True),
        (411, "length_required", False),
        (413, "too_large", False),
        (418, "protocol", False),
        (425, "unavailable", True),
        (429, "throttled", True),
        (500, "unavailable", True),
        (502, "unavailable", True),
        (503, "unavailable", True),
        (504, "unavailable", True),
        (206, "protocol", False),
    ],
)
def test_statuses(status, reason, retryable):
    error = refused_with(f"{status} Whatever", Location="http://127.0.0.1:1/")
    assert (error.status, error.reason, error.retryable) == (status, reason, retryable)
    assert error.retry_after is None


def test_googles_words_are_shown_without_the_token():
    message = f"Quota of '{TOKEN}' exceeded\nfor all {'requests ' * 1000}"
    body = json.dumps({"error": {"code": 429, "message": message}}).encode()
    error = refused_with("429 Too Many Requests", body)
    assert "storing 1 instances at 127.0.0.1:" in str(error)
    assert "/stores/s: answered 429: the quota is used up" in str(error)
    assert "(Quota of … exceeded for all requests requests" in str(error)
    assert len(str(error)) < 600
    plain = refused_with("400 Bad Request", b"unsupported media type", kind="text/plain")
    assert str(plain).endswith("(unsupported media type)")


@pytest.mark.parametrize(
    ("detail", "reason", "words"),
    [
        ("ACCESS_TOKEN_EXPIRED", "unauthorized", "has expired"),
        ("ACCESS_TOKEN_SCOPE_INSUFFICIENT", "forbidden", "check Scopes"),
        ("SERVICE_DISABLED", "forbidden", "enable it"),
        ("USER_PROJECT_DENIED", "forbidden", "quota project"),
        ("RATE_LIMIT_EXCEEDED", "throttled", "quota is used up"),
        ("SECURITY_POLICY_VIOLATED", "forbidden", "VPC Service Controls"),
        ("RESOURCE_USAGE_RESTRICTION_VIOLATED", "forbidden", "a policy of the organization"),
        ("IAM_PERMISSION_DENIED", "forbidden", "check the account's names and roles"),
        ("SOMETHING_NEW", "forbidden", "check the account's names and roles"),
    ],
)
def test_details(detail, reason, words):
    body = json.dumps({"error": {"message": "m", "details": [{"reason": detail}]}}).encode()
    error = refused_with("403 Forbidden", body)
    assert error.reason == reason
    assert words in str(error)


def test_a_state_of_the_store_that_forbids_it():
    body = json.dumps({"error": {"status": "FAILED_PRECONDITION", "message": "m"}}).encode()
    error = refused_with("400 Bad Request", body)
    assert (error.reason, error.retryable) == ("precondition", False)
    assert "in a state that forbids it" in str(error)


def test_a_user_s_request_without_a_quota_project():
    info = {"reason": "SERVICE_DISABLED", "metadata": {"consumer": "projects/764086051850"}}
    body = json.dumps({"error": {"message": "m", "details": [info]}}).encode()
    error = refused_with("403 Forbidden", body)
    assert error.reason == "forbidden"
    assert "set QuotaProject" in str(error)
    assert error.details.project == "764086051850"


@pytest.mark.parametrize("body", [b"[]", b"[[]]", b'{"error": 1}', b'{"error": {"details": 1}}'])
def test_odd_bodies(body):
    assert refused_with("403 Forbidden", body).reason == "forbidden"


def test_missing_scope_by_its_header():
    error = refused_with("403 F", WWW_Authenticate='Bearer realm="x", error="insufficient_scope"')
    assert "lacks the scope" in str(error)


def date(seconds):
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("0", 0, 0),
        ("17", 17, 17),
        ("9" * 5000, 3600, 3600),
        (-500, 0, 0),
        (600, 500, 600),
        (900_000, 3600, 3600),
    ],
    ids=range(6),
)
def test_when_to_come_back(text, least, most):
    if isinstance(text, int):  # a date, so many seconds from now
        text = date(text)
    assert least <= refused_with("503 Unavailable", Retry_After=text).retry_after <= most


@pytest.mark.parametrize("wrong_by", [-7200, 7200])
def test_when_to_come_back_is_said_by_the_clock_of_the_server(wrong_by):
    there = {"Retry_After": date(wrong_by + 30), "Date": date(wrong_by)}
    assert 29 <= refused_with("503 Unavailable", **there).retry_after <= 31


@pytest.mark.parametrize(
    "text",
    [
        *("soon", "-5", "1.5", "", "Mon, 99 Foo 2026 00:00:00 GMT"),
        f"Mon, 01 Jan {'9' * 20} 00:00:00 GMT",
    ],
)
def test_when_to_come_back_is_not_said(text):
    assert refused_with("503 Unavailable", Retry_After=text).retry_after is None


def test_faults_of_the_network():
    error = refused(f"http://127.0.0.1:{free_port()}/dicomWeb")
    assert (error.reason, error.retryable, error.status) == ("network", True, None)
    assert "no connection (Connection refused)" in str(error)
    assert "cannot be resolved" in str(refused("http://no-such-host.invalid/", timeout=30))
    with RawServer(lambda connection, _: stall(connection)) as server:
        error = refused(server.url)
    assert (error.reason, error.retryable) == ("timeout", True)
    assert str(error).endswith("no complete answer within 1 s")


def test_a_server_that_stops_reading_is_a_timeout():
    with RawServer(lambda connection, _: stall(connection)) as server:
        store = DicomStore(server.url, lambda: Authorization(TOKEN), timeout=0.5)
        with pytest.raises(StoreError) as caught:
            store.store([part_from([bytes(20_000_000)], 20_000_000)])
    assert caught.value.reason == "timeout"


def test_authorities_that_cannot_be_used(tmp_path):
    with pytest.raises(StoreError, match="cannot be used") as caught:
        DicomStore(
            "https://127.0.0.1:1/",
            lambda: Authorization(TOKEN),
            ca_certificates=tmp_path / "none.pem",
        )
    assert (caught.value.reason, caught.value.retryable) == ("ca_certificates", False)


@pytest.mark.parametrize("token", ["", "a b", "a\r\nX: y", "é"])
def test_tokens_that_are_none(token):
    assert refused("http://127.0.0.1:1/", lambda: Authorization(token)).reason == "unauthorized"


def test_no_token_is_to_be_had():
    def token():
        raise TokenError("none", reason="invalid_grant")

    with pytest.raises(TokenError, match="none"):
        DicomStore("http://127.0.0.1:1/", token).store([part_from([b"x"], 1)])


# -- The emulator's refusals, and what large files cost ------------------------------------


def test_what_the_emulator_refuses(emulator, own_client):
    def error():
        with pytest.raises(StoreError) as caught:
            DicomStore(own_client.web, lambda: Authorization(own_client.token)).store([new_part()])
        return caught.value

    emulator.fault_settings.change(disabledApi=True)
    assert "is disabled in the project" in str(error())
    emulator.fault_settings.change(
        disabledApi=False, deniedPermissions=["healthcare.dicomStores.dicomWebWrite"]
    )
    assert (error().reason, error().status) == ("forbidden", 403)
    own_client.token = "ya29.other"
    assert (error().reason, error().status) == ("unauthorized", 401)


MEASURED = """
import resource, sys
from contextlib import nullcontext
from orthanc_gcp.transport.authorization import Authorization
from orthanc_gcp.dicomweb import DicomStore, Part

size = 300_000_000
def pieces():
    yield from (bytes(1_000_000) for _ in range(300))

part = Part("1", "1.2", "1.2.3", size, lambda: nullcontext(pieces()))
store = DicomStore(sys.argv[1], lambda: Authorization("ya29.x"))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
stored = store.store([part])
with store.open("1", "1.2", "1.2.3") as answer:
    count = sum(map(len, answer))
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(stored.bytes_sent > size, count == size, grown < 20_000)
"""


def test_a_large_file_takes_constant_memory():
    def behave(connection, head):
        if head.startswith(b"GET"):
            connection.sendall(answer(b"", length=300_000_000, kind="application/dicom"))
            for _ in range(300):
                connection.sendall(bytes(1_000_000))
        else:
            # Said, for the next request must not meet a connection that is being closed.
            says(answer(b"{}", Connection="close"))(connection, head)

    with RawServer(behave) as server:
        command = [sys.executable, "-c", MEASURED, server.url]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "True"]


def test_through_a_proxy():
    with RawServer(says(answer(b"{}"))) as server, Proxy() as proxy:
        store = DicomStore(
            server.url, lambda: Authorization(TOKEN), proxy=f"127.0.0.1:{proxy.port}"
        )
        store.store([part_from([b"x"], 1)])
    assert proxy.requests == [f"POST {server.url}/studies"]
