"""A store that repeats secrets and a patient's values in each of its errors, at a real Orthanc.

Whatever is written then is searched for them: logs, the ledger, answers, receipts, the webhook,
e-mail, what the commands print, reports.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from click.testing import CliRunner

from orthanc_gcp.cli import app
from tests.support.echo import EchoServer, found_in
from tests.support.keys import STORE, service_account, write
from tests.support.orthanc import wait_until
from tests.support.sent import changed
from tests.support.site import make_instance
from tests.support.smtp_server import SmtpServer

TOKEN = "opaque.Zz-access_77token"
HOOK = "zz-hook-secret-7781"
MAIL = "zz-mail-password-7782"
PATIENT = {
    "PatientName": "Zebrafinch^Annabel",
    "PatientID": "ZBR-0042-x",
    "PatientBirthDate": "19700131",
    "AccessionNumber": "ACC5591Q",
    "ReferringPhysicianName": "Quagga^Ottokar",
}
VALUES = [*PATIENT.values(), "Zebrafinch", "Annabel", "Quagga", "Ottokar"]
ACCOUNT = "/gcp/accounts/google"
QUICK = ("failed", "failed in XML", "exists", "google 400", "header without a colon", "invalid")
"""Shapes after which the worker does not pause for long; the others are tried without it."""


class Hook:
    """Takes what the webhook sends, after it has refused the first with an echo of it."""

    def __init__(self) -> None:
        self.bodies: list[str] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.bodies.append(body.decode())
                said = f"{self.path} {self.headers}".encode()
                self.send_response(500 if len(hook.bodies) == 1 else 204, VALUES[0])
                self.send_header("Content-Length", str(len(said) if len(hook.bodies) == 1 else 0))
                self.end_headers()
                if len(hook.bodies) == 1:
                    self.wfile.write(said)

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/{HOOK}"
        Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def hook():
    hook = Hook()
    yield hook
    hook.close()


@pytest.fixture
def mail_server():
    """One that refuses the first message with an echo of what it was told."""
    server = SmtpServer(user=("orthanc", MAIL))
    refusals = iter([f"554 {MAIL} {VALUES[0]} {HOOK}\r\n".encode()])
    server.answers = FirstAnswers("DATA", refusals)
    yield server
    server.stop()


class FirstAnswers(dict[str, bytes]):
    """What is answered to one command at first; then, what is usual."""

    def __init__(self, verb: str, answers: Iterator[bytes]) -> None:
        self._verb, self._answers, self.left = verb, answers, True

    def __contains__(self, verb: object) -> bool:
        return verb == self._verb and self.left

    def __getitem__(self, verb: str) -> bytes:
        self.left = False
        return next(self._answers)


def audited(configuration: Path, report: Path) -> subprocess.Popen[str]:
    """An audit, which waits for a store that is out of order until it is interrupted."""
    command = [sys.executable, "-m", "orthanc_gcp", "audit", configuration, "--report", report]
    interrupted = ["timeout", "--signal=INT", "4", *map(str, command)]
    return subprocess.Popen(
        interrupted, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def printed(name: str, *arguments: object) -> str:
    """What a command prints, whatever comes of it."""
    done = CliRunner().invoke(app, [name, *map(str, arguments)])
    assert "Usage" not in done.output
    return done.stdout + done.stderr


def test_nothing_of_it_is_written_anywhere(orthanc, hook, mail_server, tmp_path: Path) -> None:
    (tmp_path / "mail-password").write_text(MAIL)
    granted = json.dumps({"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"})
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(granted)}\r\n\r\n"
    with EchoServer(VALUES, QUICK) as server:
        server.answers["/token"] = (head + granted).encode()
        key = service_account(f"{server.url}/token")
        section = {
            "BaseUrl": f"{server.url}/v1/",
            "Accounts": {
                "google": {**STORE, "ServiceAccountFile": write(tmp_path / "key.json", key)},
                "refused": {
                    **STORE,
                    "ServiceAccountJson": {**key, "token_uri": f"{server.url}/echo"},
                },
            },
            "Send": [{"To": "google"}],
            "Webhook": hook.url,
            "WebhookBacklogAgeSeconds": 1,
            "Mail": {
                "Server": "127.0.0.1",
                "Port": mail_server.port,
                "Encryption": "None",
                "From": "orthanc@example.org",
                "To": ["a@example.org"],
                "User": "orthanc",
                "PasswordFile": str(tmp_path / "mail-password"),
            },
            "Timeout": 2,
        }
        instance = orthanc({"GoogleCloudPlatform": section}, arguments=("--verbose",))
        files = [changed(make_instance(), **PATIENT) for _ in QUICK]
        for file in files:
            instance.json("POST", "/instances", file)

        def rows() -> list[dict[str, object]]:
            answer = instance.request("GET", f"{ACCOUNT}/instances?limit=1000")
            return json.loads(answer.data)["Instances"] if answer.status == 200 else []

        wait_until(
            lambda: len(rows()) == len(files) and server.said >= set(QUICK),
            30,
            lambda: f"{set(QUICK) - server.said} were not said:\n{instance.log[-4000:]}",
        )
        wait_until(lambda: hook.bodies, 40, lambda: f"no webhook:\n{instance.log[-4000:]}")
        wait_until(lambda: mail_server.messages, 40, lambda: f"no e-mail:\n{instance.log[-4000:]}")
        assert not mail_server.answers.left, "it was not refused"
        studies = {str(one["Study"]) for one in rows()}
        wanted = {"Resources": [{"Study": study} for study in studies]}
        instance.json("POST", f"{ACCOUNT}/retrieve", wanted)
        audit = audited(instance.configuration_file, tmp_path / "report.jsonl")
        routes = [
            *("/gcp/accounts", "/gcp/accounts/refused", "/gcp/transfers", "/metrics"),
            *("/tools/metrics-prometheus", f"{ACCOUNT}/transfers", f"{ACCOUNT}/studies"),
            *(f"{ACCOUNT}/instances?limit=1000", f"{ACCOUNT}/retrievals"),
            *(f"{ACCOUNT}/receipt?study={study}" for study in studies),
        ]
        written = {
            path: instance.request("GET", path).data.decode(errors="replace") for path in routes
        }
        for name in ("google", "refused"):
            for action in ("refresh", "check"):
                path = f"/gcp/accounts/{name}/{action}"
                answer = instance.request("POST", path, b"")
                written[path] = answer.data.decode(errors="replace")
        file = instance.configuration_file
        written |= {
            "status": printed("status", file),
            "receipt": printed("receipt", file, next(iter(studies))),
            "check": printed("check", file),
            "audit": audit.communicate(timeout=60)[0],
        }
        path = f"{ACCOUNT}/retrievals"  # some of which have failed meanwhile
        written["retrievals"] = instance.request("GET", path).data.decode(errors="replace")
        instance.stop()
    written |= {
        str(path): path.read_bytes().decode(errors="replace")
        for path in (*instance.folder.rglob("*"), *tmp_path.glob("report*"))
        if path.is_file() and path != file and "index" not in path.name and path.suffix != ".dcm"
    }
    written["webhook"] = " ".join(hook.bodies)
    written["e-mail"] = " ".join(str(message) for *_, message in mail_server.messages)
    line = key["private_key"].splitlines()[3]
    sentinels = [TOKEN, HOOK, MAIL, line]
    for where, text in written.items():
        if "/storage/" in where and "orthanc-gcp" not in where:
            continue  # Orthanc's own index and images
        assert found_in(text, [*sentinels, *VALUES]) == [], f"in {where}"
    assert any("orthanc-gcp.sqlite" in where for where in written)
    assert "refused" in written["/gcp/accounts"]
