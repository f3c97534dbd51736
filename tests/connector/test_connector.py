"""Tokens and server definitions as one service, in a real DICOMweb plugin."""

from __future__ import annotations

import json
import threading

import pytest

from orthanc_gcp.auth.account_state import TokenState
from orthanc_gcp.auth.credentials.identity import Identity
from orthanc_gcp.configuration import read
from orthanc_gcp.connector import connector as module
from orthanc_gcp.connector.connector import Connector
from orthanc_gcp.errors import OrthancUnavailableError
from orthanc_gcp.orthanc.rest import OrthancRest, RestDicomWeb
from tests.support import token_server as answers
from tests.support.keys import user_account
from tests.support.orthanc import DICOMWEB, wait_until


@pytest.fixture
def connected(orthanc, token_server, monkeypatch):
    """Makes an Orthanc, and a connector beside it that has begun."""
    monkeypatch.setattr(module, "_FIRST_CHECK_AFTER", 0.1)
    running = []

    def make(accounts=None, plugins=(DICOMWEB,), **section):
        instance = orthanc({}, plugins=plugins)
        accounts = accounts or {"a": user_account(token_server.url)}
        settings = read({"GoogleCloudPlatform": {"Accounts": accounts, **section}})
        plugin = RestDicomWeb(OrthancRest(instance.url), settings.servers_root)
        checks = []
        running.append(Connector(settings, plugin, on_check=checks.append))
        running[-1].start()
        return instance, running[-1], checks

    yield make
    for one in running:
        one.stop()


def test_a_token_becomes_a_server(connected):
    instance, connector, _ = connected()
    assert connector.orthanc_started()
    wait_until(lambda: connector.status("a").published_since)
    status = connector.status("a")
    assert list(instance.servers()) == ["a"]
    assert instance.servers()["a"]["Url"] == status.url
    assert status.token.state is TokenState.FRESH
    shown = status.as_json()
    assert (shown["Name"], shown["State"], shown["Refreshes"]) == ("a", "fresh", 1)
    assert shown["Store"].endswith("/dicomStores/dicom")
    assert "ya29" not in json.dumps(shown)


def test_an_account_with_a_mistake_is_shown_all_the_same(connected, token_server):
    accounts = {"a": user_account(token_server.url), "b": {"Project": 5}}
    _, connector, _ = connected(accounts)
    assert connector.accounts == ["a", "b"]
    status = connector.refresh("b")
    assert (status.store, status.url, status.published_since) == (None, None, None)
    assert (status.token.state, status.token.last_error.reason) == (
        TokenState.FAILING,
        "configuration",
    )
    assert "Project: found 5" in status.as_json()["LastError"]["Message"]
    assert {name for name, _ in connector.figures()} == {"a", "b"}
    with pytest.raises(KeyError):
        connector.status("c")


def test_a_refresh_on_demand(connected, token_server):
    _, connector, _ = connected()
    token_server.answer = answers.token("ya29.second")
    assert connector.refresh("a").token.state is TokenState.FRESH
    token_server.answer = answers.error("invalid_grant", "revoked")
    # The first one may join a try that still runs, and was answered before.
    wait_until(lambda: connector.refresh("a").token.state is TokenState.FAILING)
    assert connector.status("a").token.last_error.reason == "invalid_grant"


def test_definitions_are_checked_again_and_again(connected):
    instance, connector, checks = connected(RefreshInterval=1)
    connector.orthanc_started()
    wait_until(lambda: connector.status("a").published_since)
    instance.request("DELETE", "/dicom-web/servers/a")
    wait_until(lambda: list(instance.servers()) == ["a"])
    instance.request("DELETE", "/dicom-web/servers/a")
    connector.check_definitions()
    assert list(instance.servers()) == ["a"]
    wait_until(lambda: len(checks) > 1)
    assert set(checks) == {connector}


def test_a_token_that_orthanc_did_not_take_is_written_soon(connected, token_server, monkeypatch):
    """Long before definitions are looked at again."""
    _, connector, _ = connected(RefreshInterval=3600)
    connector.orthanc_started()
    wait_until(lambda: connector.status("a").published_since)
    written, put, busy = [], RestDicomWeb.put, [True, True]

    def refuse_twice(plugin, name, server):
        if busy:
            busy.pop()
            raise OrthancUnavailableError("it does not answer")
        put(plugin, name, server)
        written.append(server["HttpHeaders"]["Authorization"])

    monkeypatch.setattr(RestDicomWeb, "put", refuse_twice)
    token_server.answer = answers.token("ya29.second")
    connector.refresh("a")
    wait_until(lambda: written)
    assert written == ["Bearer ya29.second"]
    wait_until(lambda: connector.status("a").published_since)


def test_a_drive_that_does_not_answer_holds_up_nothing_else(connected, token_server, monkeypatch):
    """As a network drive with a credential file: to look at it lasts until the drive is back."""
    looked, back = [], threading.Event()

    def changed(identity):
        looked.append(identity)
        if identity is looked[0]:
            back.wait()
        return False

    monkeypatch.setattr(Identity, "changed", changed)
    accounts = {name: user_account(token_server.url) for name in "ab"}
    instance, connector, checks = connected(accounts, RefreshInterval=1)
    connector.orthanc_started()
    instance.wait_for_servers("a", "b")
    wait_until(lambda: looked)
    instance.request("DELETE", "/dicom-web/servers/a")
    instance.wait_for_servers("a", "b")
    for name in accounts:
        wait_until(lambda name=name: connector.refresh(name).token.refreshes > 1)
    wait_until(lambda: len(looked) > 2 and len(checks) > 3)
    assert sum(one is looked[0] for one in looked) == 1
    back.set()


def test_an_orthanc_that_goes_away_is_told_once(connected, caplog):
    instance, connector, checks = connected(RefreshInterval=1)
    connector.orthanc_started()
    wait_until(lambda: connector.status("a").published_since)
    instance.stop()
    seen = len(checks)
    wait_until(lambda: len(checks) > seen + 2)
    assert caplog.text.count("waiting for Orthanc, whose DICOMweb servers cannot be checked") == 1
    instance.start()
    wait_until(lambda: "Orthanc's DICOMweb servers are checked again" in caplog.text)


def test_there_is_no_dicomweb_plugin(connected, caplog):
    _, connector, _ = connected(plugins=())
    assert not connector.orthanc_started()
    assert "the DICOMweb plugin is not installed" in caplog.text


def test_mistakes_are_logged_at_the_start(connected, caplog):
    connected(Timeout="5", Nonsense=True)
    levels = {one.getMessage().partition(":")[0]: one.levelname for one in caplog.records}
    assert levels["GoogleCloudPlatform.Timeout"] == "ERROR"
    assert levels["GoogleCloudPlatform.Nonsense"] == "WARNING"


def test_a_token_that_no_header_can_carry(connected, token_server, caplog):
    instance, connector, _ = connected()
    connector.orthanc_started()
    wait_until(lambda: connector.status("a").published_since)
    token_server.answer = answers.token("ya29.x\u2028y")
    connector.refresh("a")
    assert "ya29" not in caplog.text
    assert list(instance.servers()) == ["a"]
