"""One exchange by HTTP: bounded, not redirected, and logged without secrets."""

from __future__ import annotations

import logging

import pytest

from orthanc_gcp.transport.request import LONGEST_ANSWER, Transport
from tests.support import token_server as answers
from tests.support.orthanc import free_port
from tests.transport.exchange import ask, failure


def test_an_ordinary_exchange(token_server):
    answer = ask(token_server.url)
    assert answer.status == 200
    assert b"ya29.test" in answer.data
    assert answer.headers["content-type"] == "application/json"
    assert token_server.requests[0][2]["refresh_token"] == "refresh-0003"


def test_no_redirect_is_followed(token_server):
    """A redirected POST would hand the secrets to somebody else."""
    token_server.answer = answers.raw(b"", 307, Location="http://127.0.0.1:1/")
    assert ask(token_server.url).status == 307
    assert len(token_server.requests) == 1


@pytest.mark.parametrize("answer", [answers.hanging, answers.endless])
def test_the_time_limit_holds_for_the_whole_exchange(token_server, answer):
    token_server.answer = answer
    error = failure(token_server.url, timeout=0.5)
    assert error.reason == "timeout"
    assert str(error) == f"127.0.0.1:{token_server.port}: no complete answer within 0.5 s"


def test_the_answer_is_bounded(token_server):
    token_server.answer = answers.raw(b"x" * (LONGEST_ANSWER + 1))
    assert "the answer does not end" in str(failure(token_server.url))


@pytest.mark.parametrize(
    "url", ["http://u:hush/x@h/", "http://u:hush@h:x/", "http://u:h@ush@h:1 /"]
)
def test_an_address_that_cannot_be_read_is_not_shown(url, caplog):
    caplog.set_level(logging.INFO)
    error = failure(url, verbose=True, timeout=5)
    assert not error.args or "ush" not in str(error) + caplog.text


def test_an_error_names_the_address_without_its_secrets():
    port = free_port()
    error = failure(f"http://me:secret@127.0.0.1:{port}/token?key=secret")
    assert error.url == f"http://127.0.0.1:{port}/token"
    assert "secret" not in str(error)


def test_verbose_exchanges_are_logged_without_secrets(token_server, caplog):
    caplog.set_level(logging.INFO)
    ask(token_server.url, verbose=True)
    token_server.answer = answers.raw(b"<html>secret-0002</html>")
    ask(token_server.url, verbose=True)
    token_server.answer = answers.error("invalid_grant", "you sent secret-0002 refresh-0003")
    ask(token_server.url, verbose=True)
    log = caplog.text
    assert "'error_description': 'you sent …'" in log
    assert f"POST {token_server.url} with" in log
    assert "'grant_type': 'refresh_token'" in log
    assert "'client_secret': '(masked, 11 characters)'" in log
    assert f"{token_server.url} answered 200" in log
    assert "'expires_in': '3600'" in log
    assert "24 bytes of text/html" in log
    for secret in ("secret-0002", "refresh-0003", "ya29"):
        assert secret not in log


def test_a_verbose_log_shows_no_body_but_forms(token_server, caplog):
    caplog.set_level(logging.INFO)
    token_server.answer = answers.raw(b'[{"PatientName": "Doe"}]', kind="application/dicom+json")
    Transport(verbose=True)(token_server.url, "POST", b"PatientName=Doe", {"Content-Type": "x/y"})
    assert "with 15 bytes" in caplog.text
    assert "24 bytes of application/dicom+json" in caplog.text
    assert "Doe" not in caplog.text


def test_nothing_is_logged_otherwise(token_server, caplog):
    caplog.set_level(logging.INFO)
    ask(token_server.url)
    assert caplog.text == ""
