"""The socket of the worker's API, and who is let in."""

from __future__ import annotations

import socket

import pytest
import urllib3
from starlette.responses import PlainTextResponse

from orthanc_gcp.worker.listener import Guarded, Listener

SECRET = "s3cret-needle"


@pytest.fixture
def listener():
    listener = Listener(Guarded(PlainTextResponse("inside"), SECRET))
    listener.start()
    yield listener
    listener.stop()


def ask(listener, **headers):
    with urllib3.PoolManager(retries=False) as http:
        url = f"http://127.0.0.1:{listener.port}/any/where"
        return http.request("GET", url, headers=headers)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_who_knows_the_secret(listener, scheme):
    answer = ask(listener, Authorization=f"{scheme} {SECRET}")
    assert (answer.status, answer.data) == (200, b"inside")


@pytest.mark.parametrize("given", ["", "Bearer", f"Basic {SECRET}", f"Bearer {SECRET}x", SECRET])
def test_who_does_not(listener, given):
    answer = ask(listener, Authorization=given)
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert answer.json()["HttpStatus"] == 401
    assert SECRET not in answer.data.decode()


def test_it_is_reached_from_this_machine_alone(listener):
    assert listener._socket.getsockname()[0] == "127.0.0.1"


def test_a_port_that_is_taken(listener):
    with pytest.raises(OSError, match="in use"):
        Listener(PlainTextResponse(""), port=listener.port)


def test_after_its_end_nobody_answers():
    listener = Listener(PlainTextResponse(""))
    listener.start()
    assert ask(listener).status == 200
    listener.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", listener.port), 1)
