"""Whether the emulator answers."""

from __future__ import annotations

import urllib3

from tests.emulator.client import Client


def ask(client: Client, verb: str, path: str = "/healthz") -> urllib3.BaseHTTPResponse:
    return client.pool.request(verb, client.url + path)


def test_it_is_there_for_everybody(client: Client) -> None:
    answer = ask(client, "GET")
    assert (answer.status, answer.json()) == (200, {"status": "ok"})
    assert "no-store" in answer.headers["cache-control"]
    head = ask(client, "HEAD")
    assert (head.status, head.data) == (200, b"")
    assert ask(client, "GET", "/healthz?verbose=1").status == 200
    assert [ask(client, verb).status for verb in ("POST", "DELETE")] == [404, 404]
    assert ask(client, "GET", "/healthz/").status == 404


def test_it_is_not_shown_and_no_fault_touches_it(admin_client: Client) -> None:
    settings = {"disabledApi": True, "latency": 1000, "faults": [{"cut": "reset"}]}
    state = f"{admin_client.url}/emulator/state"
    admin_client.pool.request("PATCH", state, json=settings)
    assert ask(admin_client, "GET").status == 200
    shown = ask(admin_client, "GET", "/emulator/overview").json()["requests"]
    assert "/healthz" not in {request["path"] for request in shown}
