"""The tokens that a worker sends its requests with."""

from __future__ import annotations

import threading
import time

import pytest

from orthanc_gcp.auth.token_source import TokenSource
from orthanc_gcp.clock import SystemClock
from orthanc_gcp.configuration import read
from orthanc_gcp.errors import StoreError
from orthanc_gcp.transport.authorization import Authorization
from tests.support import token_server as answers
from tests.support.keys import STORE, USER, user_account, write
from tests.support.orthanc import wait_until


@pytest.fixture
def source(token_server):
    """A maker of sources, started."""
    made = []

    def make(folder=None, options=None, **account):
        options = options or user_account(token_server.url, **account)
        section = {"Accounts": {"a": options}, "RefreshInterval": 1}
        settings = read({"GoogleCloudPlatform": section}, folder)
        tokens = TokenSource(settings, SystemClock())
        made.append(tokens)
        tokens.start()
        return tokens

    yield make
    for tokens in made:
        tokens.stop()


def test_the_first_token_is_waited_for(source):
    assert source(QuotaProject="project-1").authorization("a") == Authorization(
        "ya29.test", "project-1"
    )


def test_why_there_is_none(source, token_server, monkeypatch):
    token_server.answer = answers.error("invalid_grant", "Bad Request")
    monkeypatch.setattr("orthanc_gcp.auth.token_source._FIRST_WITHIN", 0.5)
    tokens = source()
    wait_until(lambda: token_server.requests)
    with pytest.raises(StoreError, match=r"no access token: .* invalid_grant") as caught:
        tokens.authorization("a")
    assert (caught.value.reason, caught.value.retryable) == ("no_token", True)


def test_a_token_that_was_refused_is_replaced_once_for_all_who_say_so(source, token_server):
    tokens = source()
    tokens.authorization("a")
    token_server.answer = answers.token("ya29.second")
    tokens.renew("a")
    assert tokens.authorization("a").token == "ya29.second"
    tokens.renew("a")
    assert len(token_server.requests) == 2


def test_nobody_waits_for_a_token_when_all_ends(source, token_server, monkeypatch):
    """Neither for the first, nor for another in the place of one that was refused."""
    monkeypatch.setattr("orthanc_gcp.auth.token_source._FIRST_WITHIN", 600)
    token_server.answer = answers.error("invalid_grant", "Bad Request")
    tokens = source()
    wait_until(lambda: tokens.problem("a"))  # the first try has ended
    ended = []

    def ask() -> None:
        with pytest.raises(StoreError):
            tokens.authorization("a")
        ended.append("first")

    def renew() -> None:
        tokens._schedule.stop()  # it never comes to a try
        tokens.renew("a")
        ended.append("another")

    threads = [threading.Thread(target=one, daemon=True) for one in (ask, renew)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    assert ended == []
    tokens.stop()
    for thread in threads:
        thread.join(10)
    assert sorted(ended) == ["another", "first"]
    tokens._renewed.clear()
    tokens.renew("a")  # it returns


def test_its_figures_and_its_identity(source):
    tokens = source()
    tokens.authorization("a")
    wait_until(lambda: next(tokens.figures())[1].refreshes == 1)
    ((name, figures),) = tokens.figures()
    assert name == "a"
    assert 3500 < figures.seconds_to_expiry <= 3600
    assert tokens.identity("a") is None  # a user's strings do not say


def test_a_credential_file_that_changes_is_taken(source, token_server, tmp_path):
    write(tmp_path / "user.json", {**USER, "type": "authorized_user", "account": "one@b"})
    options = {**STORE, "CredentialsFile": "user.json", "TokenUri": token_server.url}
    tokens = source(tmp_path, options)
    tokens.authorization("a")
    wait_until(lambda: tokens.identity("a") == "one@b")
    write(tmp_path / "user.json", {**USER, "type": "authorized_user", "account": "another@b"})
    wait_until(lambda: tokens.identity("a") == "another@b")
