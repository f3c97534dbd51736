"""What Orthanc says of tokens, whatever it says, and whether it does."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from orthanc_gcp.commands.live import tokens as module
from orthanc_gcp.commands.live.tokens import Tokens, token_of
from orthanc_gcp.errors import ConfigurationError
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.support.orthanc import free_port, wait_until

GOOD = {
    "Name": "google",
    "State": "fresh",
    "Identity": "robot@x",
    "SecondsToExpiry": 12.5,
    "NextTry": "2026-01-01T00:00:00+00:00",
    "LastError": {"Message": "it was away"},
}


@contextmanager
def answering(status: int, body: object):
    """An Orthanc that answers so."""
    content = json.dumps(body).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            assert self.path == "/gcp/accounts"
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Tokens(lambda: OrthancRest(f"http://127.0.0.1:{server.server_port}/"))
        server.shutdown()
        thread.join()


def test_what_it_says():
    with answering(200, [GOOD, 5]) as tokens:
        tokens.ask()
    assert tokens.problem == ""
    assert tokens.found == [
        {
            "Account": "google",
            "State": "fresh",
            "Identity": "robot@x",
            "SecondsToExpiry": 12.5,
            "NextTry": "2026-01-01T00:00:00+00:00",
            "Problem": "it was away",
        }
    ]


@pytest.mark.parametrize(("status", "body"), [(404, {}), (503, {}), (200, {"a": 1}), (200, None)])
def test_an_orthanc_without_the_plugin(status, body):
    with answering(status, body) as tokens:
        tokens.ask()
    assert tokens.found is None
    assert "does not have the plugin" in tokens.problem


def test_an_orthanc_that_is_away_or_cannot_be_asked():
    tokens = Tokens(lambda: OrthancRest(f"http://127.0.0.1:{free_port()}/", timeout=2))
    tokens.ask()
    assert tokens.found is None
    assert tokens.problem

    def none():
        raise ConfigurationError("it asks for a user")

    tokens = Tokens(none)
    tokens.ask()
    assert tokens.problem == "it asks for a user"


@pytest.mark.parametrize("wrong", [None, 5, [], {}, True, "x"])
def test_fields_of_another_type(wrong):
    found = token_of(dict.fromkeys(GOOD, wrong))
    assert found["SecondsToExpiry"] in (None, 5.0)
    assert all(isinstance(found[name], str | None) for name in ("State", "Identity", "Problem"))
    assert isinstance(found["Account"], str)
    assert token_of({"SecondsToExpiry": -3.0})["SecondsToExpiry"] == 0.0


def test_they_are_asked_for_again(monkeypatch):
    monkeypatch.setattr(module, "EVERY", 0.01)
    asked = []

    def connect():
        asked.append(1)
        raise ConfigurationError("x")

    with Tokens(connect).asked_again():
        wait_until(lambda: len(asked) > 2, 10, lambda: f"{asked}")
