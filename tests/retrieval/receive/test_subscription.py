"""A subscription of the emulator, and what a server may answer in its place."""

from __future__ import annotations

import base64
import json
import time

import pytest

from orthanc_gcp.clock import SystemClock
from orthanc_gcp.configuration import read
from orthanc_gcp.errors import SubscriptionError
from orthanc_gcp.reasons import StoreReason
from orthanc_gcp.retrieval.receive import subscription as module
from orthanc_gcp.retrieval.receive.subscription import (
    Subscription,
    pubsub_transport,
    pubsub_url,
)
from orthanc_gcp.transport.authorization import Authorization
from orthanc_gcp.transport.request import Transport
from tests.support.emulator import Emulator
from tests.support.raw_server import RawServer, answer, says

TOPIC, NAME = "projects/p/topics/images", "projects/p/subscriptions/orthanc"


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    running = Emulator(tmp_path_factory.mktemp("google"), "--admin")
    running.call("PUT", TOPIC, {})
    running.call("PUT", NAME, {"topic": TOPIC})
    yield running
    running.stop()


@pytest.fixture
def subscription(emulator):
    token = emulator.bearer()["Authorization"].removeprefix("Bearer ")
    yield Subscription(emulator.url, NAME, lambda: Authorization(token), Transport(10))
    emulator.switch(deniedPermissions=[])


def test_pulled_held_and_acknowledged(emulator, subscription):
    data = base64.b64encode(b"x").decode()
    emulator.call("POST", f"{TOPIC}:publish", {"messages": [{"data": data}] * 3})
    received = subscription.pull(2)
    assert [one["message"]["data"] for one in received] == [data] * 2
    (last,) = subscription.pull(2)
    subscription.extend([received[0]["ackId"]], 0)
    (again,) = subscription.pull(2)
    assert again["message"]["messageId"] == received[0]["message"]["messageId"]
    subscription.acknowledge([one["ackId"] for one in (*received[1:], last, again)])


def test_who_may_pull(emulator, subscription):
    assert subscription.may_consume()
    emulator.switch(deniedPermissions=["pubsub.subscriptions.consume"])
    assert not subscription.may_consume()
    with pytest.raises(SubscriptionError, match=r"roles/pubsub\.subscriber") as raised:
        subscription.pull(1)
    assert (raised.value.reason, raised.value.retryable) == (StoreReason.FORBIDDEN, False)


def test_one_that_there_is_not(emulator, subscription):
    token = emulator.bearer()["Authorization"].removeprefix("Bearer ")
    other = Subscription(emulator.url, f"{NAME}-2", lambda: Authorization(token), Transport(10))
    assert not other.may_consume()
    with pytest.raises(SubscriptionError, match="there is no such subscription"):
        other.pull(1)


def asked(behaviour, verb="pull", timeout=5.0):
    """What comes of a request to a server that behaves so."""
    with RawServer(behaviour) as server:
        url = f"http://127.0.0.1:{server.port}"
        one = Subscription(url, NAME, lambda: Authorization("secret-token"), Transport(timeout))
        try:
            return one.pull(2) if verb == "pull" else one.may_consume()
        finally:
            assert server.heads[0].startswith(b"POST /v1/projects/p/subscriptions/orthanc:")


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"", []),
        (b"{}", []),
        (b'{"receivedMessages": null}', []),
        (b'{"receivedMessages": [1, 2, 3]}', [1, 2]),
    ],
)
def test_answers(body, found):
    assert asked(says(answer(body, Connection="close"))) == found


@pytest.mark.parametrize(
    "body",
    [b"[]", b"<html>", b'{"receivedMessages": {"a": 1}}', b"[" * 100_000, b"\xff"],
    ids=lambda body: str(body[:20]),
)
def test_what_is_no_answer(body):
    with pytest.raises(SubscriptionError) as raised:
        asked(says(answer(body, Connection="close")))
    assert raised.value.reason == StoreReason.PROTOCOL


@pytest.mark.parametrize(
    ("status", "reason", "retryable"),
    [
        ("401 Unauthorized", StoreReason.UNAUTHORIZED, True),
        ("404 Not Found", StoreReason.NOT_FOUND, False),
        ("429 Too Many Requests", StoreReason.THROTTLED, True),
        ("503 Service Unavailable", StoreReason.UNAVAILABLE, True),
        ("302 Found", StoreReason.PROTOCOL, False),
    ],
)
def test_refusals(status, reason, retryable):
    said = {"error": {"code": 0, "message": "the secret-token of Jane Doe", "status": "X"}}
    with pytest.raises(SubscriptionError) as raised:
        asked(says(answer(json.dumps(said).encode(), status, Connection="close")), "permissions")
    assert (raised.value.reason, raised.value.retryable) == (reason, retryable)
    assert "secret-token" not in str(raised.value)
    assert "Jane" not in str(raised.value)


def test_a_token_without_the_scope():
    info = {"reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT", "domain": "googleapis.com"}
    info["@type"] = "type.googleapis.com/google.rpc.ErrorInfo"
    error = {"code": 403, "message": "no", "status": "PERMISSION_DENIED", "details": [info]}
    body = json.dumps({"error": error}).encode()
    with pytest.raises(SubscriptionError, match="auth/pubsub to Scopes"):
        asked(says(answer(body, "403 Forbidden", Connection="close")))


def test_a_pull_without_a_message_is_none():
    assert asked(lambda *_: time.sleep(0.4), timeout=0.2) == []


def test_other_requests_have_to_be_answered():
    with pytest.raises(SubscriptionError) as raised:
        asked(lambda *_: time.sleep(0.4), "permissions", timeout=0.2)
    assert (raised.value.reason, raised.value.retryable) == (StoreReason.NETWORK, True)


def test_an_answer_without_end(monkeypatch):
    monkeypatch.setattr(module, "LONGEST_ANSWER", 10_000)
    settings = read({"GoogleCloudPlatform": {"BaseUrl": "http://127.0.0.1:1/v1"}})
    transport = pubsub_transport(settings, SystemClock())
    with RawServer(says(answer(b" " * 20_000, Connection="close"))) as server:
        url = f"http://127.0.0.1:{server.port}"
        one = Subscription(url, NAME, lambda: Authorization("t"), transport)
        with pytest.raises(SubscriptionError) as raised:
            one.pull(1)
    assert raised.value.reason == StoreReason.NETWORK


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://healthcare.googleapis.com/v1/", "https://pubsub.googleapis.com"),
        ("http://127.0.0.1:8085/v1beta1/", "http://127.0.0.1:8085"),
    ],
)
def test_who_is_asked(base, url):
    assert pubsub_url(read({"GoogleCloudPlatform": {"BaseUrl": base}})) == url
