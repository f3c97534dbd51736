"""The webhook at a real address: what arrives there, and who can tell that it is true."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from orthanc_gcp import configuration
from orthanc_gcp.clock import SystemClock
from orthanc_gcp.custody.reporting.counts import Amount, TransferCounts
from orthanc_gcp.custody.reporting.overview import AccountOverview
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.worker.assembly import assemble
from orthanc_gcp.worker.attempts import Attempts
from orthanc_gcp.worker.notifications import ledger_alarm, notifier
from orthanc_gcp.worker.notifications.notifier import notifiers
from orthanc_gcp.worker.notifications.webhook import signature
from orthanc_gcp.worker.progress import Progress
from tests.support.keys import user_account
from tests.support.orthanc import wait_until
from tests.support.site import ACCOUNT, Site, make_study

ROOT = Path(__file__).parents[3]
KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()


class Receiver:
    """A server that takes what comes, after it has refused the first ``refuses`` of it."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.refuses = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.requests.append((self.path, headers, body))
                self.send_response(500 if len(receiver.requests) <= receiver.refuses else 204)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.stop()


def verified(headers: dict[str, str], body: bytes, secret: str = SECRET) -> bool:
    """As a receiver does it, from the specification: HMAC by its definition in RFC 2104."""
    if abs(time.time() - int(headers["webhook-timestamp"])) > 300:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_")).ljust(64, b"\0")
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key) + signed).digest()
    outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in key) + inner).digest()
    version, _, given = headers["webhook-signature"].partition(",")
    return version == "v1" and hmac.compare_digest(base64.b64decode(given), outer)


def run(ledger, url, alarms, condition, **section):
    """A webhook that checks twenty times a second, until a condition holds."""
    given = {"Webhook": url, **section}
    settings = configuration.read({"GoogleCloudPlatform": given})
    assert settings.section.webhook == url
    attempts = Attempts(SystemClock(), Progress())
    (hook,) = notifiers(settings, ledger, lambda: alarms, attempts, SystemClock(), "w")
    hook.start()
    hook.open()
    try:
        wait_until(condition)
    finally:
        hook.stop()
        hook._thread.join(20)  # its connection to the ledger is closed by then


def overview(quarantined=1):
    counts = TransferCounts(waiting=Amount(7), quarantined=Amount(quarantined))
    return [AccountOverview("a", counts=counts)]


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(notifier, "CHECK_EVERY", 0.05)


def test_the_example_of_the_specification():
    """The signature scheme's example message, under the key of the reference libraries' tests."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    found = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_receiver_can_verify_it_and_drop_what_is_sent_again(ledger, receiver, clock):
    receiver.refuses = 2
    alarms = overview()

    def taken():
        clock.now += 400  # whatever the pause after a refusal
        return len(receiver.requests) == 3

    run(ledger, receiver.url, alarms, taken, WebhookSecret=SECRET)
    for _, headers, body in receiver.requests:
        assert verified(headers, body)
        assert headers["content-type"] == "application/json"
        assert json.loads(body)["Alarm"] == "Quarantine"
        assert not verified(headers, body + b" ")
        assert not verified({**headers, "webhook-id": "msg_other"}, body)
        later = str(int(headers["webhook-timestamp"]) + 1)
        assert not verified({**headers, "webhook-timestamp": later}, body)
        assert not verified(headers, body, "whsec_" + base64.b64encode(b"x" * 32).decode())
    assert len({headers["webhook-id"] for _, headers, _ in receiver.requests}) == 1
    assert "." not in receiver.requests[0][1]["webhook-id"], "it would blur where the id ends"


def test_what_the_guide_says_of_verifying_it(ledger, receiver):
    """The code in docs/custody.md, run as a reader would."""
    text = (ROOT / "docs" / "custody.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict = {}
    exec(code, names)
    run(ledger, receiver.url, overview(), lambda: receiver.requests, WebhookSecret=SECRET)
    ((_, headers, body),) = receiver.requests
    assert names["is_genuine"](headers, body, SECRET)
    assert not names["is_genuine"](headers, body + b" ", SECRET)
    old = {**headers, "webhook-timestamp": "1614265330"}
    assert not names["is_genuine"](old, body, SECRET)


def test_without_a_secret_nothing_is_signed(ledger, receiver):
    run(ledger, receiver.url, overview(), lambda: receiver.requests)
    ((_, headers, _),) = receiver.requests
    assert "webhook-signature" not in headers
    assert headers["webhook-id"].startswith("msg_")


def test_the_secret_is_shown_nowhere(ledger, receiver, caplog):
    receiver.refuses = 99
    settings = configuration.read(
        {"GoogleCloudPlatform": {"Webhook": receiver.url, "WebhookSecret": SECRET}}
    )
    with caplog.at_level(logging.DEBUG):
        run(ledger, receiver.url, overview(), lambda: "500" in caplog.text, WebhookSecret=SECRET)
    for needle in (SECRET, SECRET.removeprefix("whsec_"), repr(KEY)[2:-1]):
        assert needle not in caplog.text
        assert needle not in repr(settings)


def test_a_worker_tells_the_webhook(tmp_path, receiver):
    receiver.refuses = 1
    theirs = make_study(instances=1)[0]
    ours = bytearray(theirs)
    ours[-1] ^= 1
    section = {"Webhook": receiver.url, "WebhookSecret": SECRET}
    with Site(tmp_path, section=section) as site:
        stow = {"Content-Type": "application/dicom"}
        assert site.call("POST", "/dicomWeb/studies", theirs, **stow).status == 200
        site.wait_for_following()
        site.upload(bytes(ours))
        site.wait_for(quarantined=1)
        wait_until(lambda: len(receiver.requests) == 2, 40, site.log)
        assert "/hook" not in site.log(), "such an address may be a secret"
    kinds = {(path, headers["content-type"]) for path, headers, _ in receiver.requests}
    assert kinds == {("/hook", "application/json")}
    assert all(verified(headers, body) for _, headers, body in receiver.requests)
    told = json.loads(receiver.requests[1][2])
    assert (told["Account"], told["Alarm"], told["Raised"]) == (ACCOUNT, "Quarantine", True)
    assert told["QuarantinedInstances"] == 1


def test_a_ledger_that_is_away_when_the_worker_begins(tmp_path, receiver, monkeypatch):
    """As after a reboot before that of the machine that has the database."""
    monkeypatch.setattr(ledger_alarm, "SEEN_WITHIN", 1.0)
    folder = tmp_path / "unmounted"
    section = {
        "Accounts": {"google": user_account("http://127.0.0.1:1/token")},
        "Database": f"sqlite:///{folder}/ledger.sqlite",
        "Webhook": receiver.url,
    }
    settings = configuration.read({"GoogleCloudPlatform": section}, tmp_path)
    worker = assemble(settings, OrthancRest("http://127.0.0.1:1"), "w")

    def told():
        return [json.loads(body) for _, _, body in receiver.requests]

    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        wait_until(told, 30)
        (raised,) = told()
        assert (raised["Account"], raised["Alarm"], raised["Raised"]) == ("google", "Problem", True)
        assert "the ledger cannot be used: unable to open" in raised["Problems"][0]["Message"]
        folder.mkdir()
        wait_until(lambda: len(told()) == 2, 30)
        assert not told()[1]["Raised"]
    finally:
        worker.stop()
        thread.join(20)
    assert not thread.is_alive()
