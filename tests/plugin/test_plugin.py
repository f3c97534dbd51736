"""The plugin's life in Orthanc: its start, its requests, its end."""

from __future__ import annotations

import json

import pytest

from orthanc_gcp import plugin
from orthanc_gcp.plugin import Plugin, is_script
from orthanc_gcp.plugin.page.serving import PAGE_ROUTES
from orthanc_gcp.plugin.routes import CONNECTOR_ROUTES, GATEWAY_ROUTES, WORKER_ROUTES
from tests.support.keys import user_account
from tests.support.orthanc import wait_until
from tests.support.orthanc_module import OldOutput, OrthancModule, Output


@pytest.fixture
def module(inside, token_server) -> OrthancModule:
    account = user_account(token_server.url)
    return inside({"GoogleCloudPlatform": {"Accounts": {"a": account}}})


@pytest.fixture
def started(module):
    """Orthanc loads the plugin, and says a moment later that it has started."""
    running = plugin.start(module)
    running.on_change(module.ChangeType.STABLE_STUDY, None, None)
    running.on_change(module.ChangeType.ORTHANC_STARTED, None, None)
    yield running
    running.on_change(module.ChangeType.ORTHANC_STOPPED, None, None)


def ask(module, route, method="GET", output=None, **more):
    output = output or Output()
    module.routes[route](output, "/gcp", method=method, **more)
    return output


def test_its_life(module, started):
    expected = {*CONNECTOR_ROUTES, *GATEWAY_ROUTES, *WORKER_ROUTES, *PAGE_ROUTES}
    assert set(module.routes) == expected
    wait_until(lambda: "a" in json.loads(module.RestApiGet("/dicom-web/servers")))
    wait_until(lambda: ask(module, "/gcp/accounts").status == 200)
    (account,) = json.loads(ask(module, "/gcp/accounts").body)
    assert (account["Name"], account["State"]) == ("a", "fresh")
    assert ask(module, "/gcp/accounts", "PUT").allow == "GET"


@pytest.mark.parametrize("output", [Output, OldOutput])
def test_an_error_has_a_body_in_every_version(module, started, output):
    wait_until(lambda: ask(module, "/gcp/accounts").status == 200)
    answer = ask(module, CONNECTOR_ROUTES[1], output=output(), groups=["übung"])
    assert (answer.status, json.loads(answer.body)["HttpStatus"]) == (404, 404)
    answer = ask(module, WORKER_ROUTES[0], output=output(), groups=["transfers"])
    assert "no rule in Send" in json.loads(answer.body)["Message"]


def test_requests_before_it_has_begun(module):
    answer = Output()
    Plugin(module).on_connector_request(answer, "/gcp/accounts", method="GET")
    assert (answer.status, "still starting" in answer.body) == (503, True)


def test_a_script_of_the_users_that_does_not_call_back(module, monkeypatch):
    monkeypatch.setattr(plugin, "STARTS_WITHIN", 0.1)
    running = plugin.start(module)
    wait_until(lambda: "its change callback has to call on_change()" in str(module.log))
    assert json.loads(module.RestApiGet("/dicom-web/servers")) == []
    running.on_change(module.ChangeType.ORTHANC_STARTED, None, None)
    wait_until(lambda: "a" in json.loads(module.RestApiGet("/dicom-web/servers")))
    running.on_change(module.ChangeType.ORTHANC_STOPPED, None, None)


def test_one_that_is_stopped_before_orthanc_has_started(module):
    running = Plugin(module)
    running.stop()
    running.run()
    assert json.loads(module.RestApiGet("/dicom-web/servers")) == []


def test_what_goes_wrong_is_logged_and_no_more(module):
    module.GetConfiguration = lambda: "{"
    Plugin(module).run()
    ((level, text),) = module.log
    assert (level, text.partition(":")[0]) == ("E", "orthanc-gcp cannot start")
    assert "JSONDecodeError" in text


def test_a_request_that_fails_unexpectedly_says_where_and_not_with_which_values(module, started):
    wait_until(lambda: ask(module, "/gcp/accounts").status == 200)

    value = "Doe^John"

    class Broken:
        def call(self, *_):
            raise ValueError(value)

        def stop(self):
            pass

    started._worker = Broken()
    answer = ask(module, WORKER_ROUTES[0], groups=["transfers"])
    assert (answer.status, json.loads(answer.body)["HttpStatus"]) == (500, 500)
    (text,) = [text for _, text in module.log if "cannot answer a request" in text]
    assert "unexpected ValueError" in text
    assert 'File "' in text
    assert "Doe" not in text


def test_a_worker_is_started_for_rules(inside, token_server):
    section = {"Accounts": {"a": user_account(token_server.url)}, "Send": [{"To": "a"}]}
    module = inside({"GoogleCloudPlatform": section})
    running = plugin.start(module, "/no/python")
    running.on_change(module.ChangeType.ORTHANC_STARTED, None, None)
    wait_until(lambda: "cannot be started by /no/python" in str(module.log))
    answer = ask(module, WORKER_ROUTES[0], groups=["transfers"])
    assert "does not run just now" in json.loads(answer.body)["Message"]
    running.on_change(module.ChangeType.ORTHANC_STOPPED, None, None)


@pytest.mark.parametrize(
    ("configuration", "file", "found"),
    [
        ({"PythonScript": "/etc/orthanc/gcp.py"}, "/etc/orthanc/gcp.py", True),
        ({"PythonScript": "gcp.py"}, "/elsewhere/gcp.pyc", True),
        ({"PythonScript": "own.py"}, "/etc/orthanc/gcp.py", False),
        ({"PythonScript": "own.py", "Python": {"Path": "gcp.py"}}, "/x/gcp.py", True),
        ({"Python": []}, "/x/gcp.py", False),
    ],
)
def test_whether_orthanc_loads_this_file(module, configuration, file, found):
    module.GetConfiguration = lambda: json.dumps(configuration)
    assert is_script(module, file) == found


@pytest.mark.parametrize(
    ("configuration", "words"),
    [
        ({}, ""),
        ({"GoogleCloudPlatform": []}, ""),
        ({"GoogleCloudPlatform": {"Gateway": [1]}}, ""),
        ({"GoogleCloudPlatform": {"Gateway": {"AnswerForOrthanc": "true"}}}, ""),
        ([], "orthanc-gcp cannot answer for Orthanc: unexpected AttributeError"),
    ],
)
def test_nobody_answers_for_orthanc(module, monkeypatch, configuration, words):
    running = Plugin(module, "python")
    monkeypatch.setattr(module, "GetConfiguration", lambda: json.dumps(configuration))
    assert running.answer_for_orthanc() == ()
    said = [text for level, text in module.log if level == "E"]
    assert any(words in text for text in said) if words else not said
