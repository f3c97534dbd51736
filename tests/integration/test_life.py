"""The plugin's life inside Orthanc: start, stop, and what must never stop Orthanc."""

from __future__ import annotations

import json
import statistics
import sys
import threading
from contextlib import suppress

import pytest
import urllib3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orthanc_gcp.configuration.files import read_files
from orthanc_gcp.plugin import script
from tests.configuration.test_reading import SERVICE, VALUE, with_account
from tests.support import token_server as answers
from tests.support.keys import user_account, write
from tests.support.orthanc import Orthanc
from tests.support.proxy import Proxy
from tests.support.raw_server import RawServer, answer, says


def configuration(token_server, **more):
    accounts = {"my-google": user_account(token_server.url)}
    return {"GoogleCloudPlatform": {"Accounts": accounts}, **more}


@pytest.mark.parametrize("verify", [True, False])
def test_a_hanging_request_does_not_delay_the_stop(orthanc, token_server, verify):
    """Orthanc's own stop takes up to 2.7 s; the request would hang for a minute."""
    token_server.answer = answers.hanging
    durations = []
    instance = orthanc(configuration(token_server, HttpsVerifyPeers=verify), start=False)
    for _ in range(3):
        before = len(token_server.requests)
        instance.start()
        while len(token_server.requests) == before:
            pass
        duration, code = instance.stop()
        durations.append(duration)
        assert code == 0
    assert statistics.median(durations) < 10


def test_somebody_who_waits_for_a_token_does_not_delay_the_stop(orthanc, token_server):
    instance = orthanc(configuration(token_server))
    instance.wait_for_servers("my-google")
    token_server.answer = answers.hanging
    before = len(token_server.requests)

    def ask():
        with suppress(urllib3.exceptions.HTTPError):
            instance.request("POST", "/gcp/accounts/my-google/refresh", b"{}")

    waiting = threading.Thread(target=ask)
    waiting.start()
    while len(token_server.requests) == before:
        pass
    duration, code = instance.stop()
    waiting.join()
    assert code == 0
    assert duration < 10


def test_an_installation_for_another_python(orthanc, token_server):
    other = script.text().replace(f"PYTHONS = [{sys.version_info[:2]}]", "PYTHONS = [(3, 9)]")
    instance = orthanc(configuration(token_server), python_script=other)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert (
        f"orthanc-gcp is installed for Python 3.9, but this Orthanc embeds Python {version}: no "
        "store of Google is reachable. Install it with that version, then: orthanc-gcp install"
        in instance.log
    )
    assert instance.answers()


def test_an_installation_that_was_removed(orthanc, token_server):
    text = script.text()
    lines = [
        "PACKAGES = ['/nowhere']" if line.startswith("PACKAGES") else line
        for line in text.splitlines()
    ]
    instance = orthanc(configuration(token_server), python_script="\n".join(lines))
    assert "orthanc-gcp cannot start from ['/nowhere']: No module named" in instance.log
    assert instance.answers()


def test_beside_a_script_of_the_users_own(orthanc, token_server):
    own = script.text() + (
        "\ndef on_output(output, uri, **request):\n"
        "    output.AnswerBuffer('mine', 'text/plain')\n"
        "orthanc.RegisterRestCallback('/mine', on_output)\n"
    )
    instance = orthanc(configuration(token_server), python_script=own)
    instance.wait_for_servers("my-google")
    assert instance.request("GET", "/mine").data == b"mine"


PRINTING = """
import orthanc
with open({file!r}, "w") as file:
    file.write(orthanc.GetConfiguration())
"""


def test_configuration_files_are_read_as_orthanc_reads_them(orthanc, tmp_path):
    """Comments, variables with and without defaults, a folder: ours against the real thing."""
    instance = orthanc({}, start=False, python_script=PRINTING.format(file=str(tmp_path / "seen")))
    configuration = instance.configuration_file
    (instance.folder / "more.json").write_text(
        """{
        // a comment with "quotes" and ${VARIABLES}
        "Dictionary": {}, /* another
        one */ "GoogleCloudPlatform": {"BaseUrl": "http://${HOST:-localhost}:8085//v1", // end
        "Accounts": {"${NAME}": {"Project": "${NOT_SET}x", "Note": "/* kept */ \\"//\\""}}}
        }"""
    )
    folder = instance.folder / "etc"
    folder.mkdir()
    for file in (configuration, instance.folder / "more.json"):
        file.rename(folder / file.name)
    instance.configuration_file = folder
    variables = {"NAME": "my-google"}
    instance.add_environment(variables)
    instance.start()
    seen = json.loads((tmp_path / "seen").read_text())
    assert read_files([folder], variables) == seen
    assert seen["GoogleCloudPlatform"]["BaseUrl"] == "http://localhost:8085//v1"


def test_no_account_is_said(orthanc):
    instance = orthanc({})
    instance.wait_for_log("No Google Cloud Platform account is configured")


def test_a_log_of_the_token_exchange(orthanc, token_server):
    instance = orthanc(configuration(token_server, HttpVerbose=True))
    instance.wait_for_servers("my-google")
    assert f"POST {token_server.url} with" in instance.log
    assert "'client_secret': '(masked, 11 characters)'" in instance.log
    assert "ya29.test" not in instance.log


def test_token_requests_take_the_proxy(orthanc, token_server):
    with Proxy(credentials="user:secret-pw") as proxy:
        way_out = f"http://user:secret-pw@127.0.0.1:{proxy.port}"
        instance = orthanc(configuration(token_server, HttpProxy=way_out))
        instance.wait_for_servers("my-google")
    assert proxy.requests == [f"POST {token_server.url}"]
    assert "secret-pw" not in instance.log


def test_what_the_environment_keeps_from_the_proxy(orthanc, token_server):
    """Orthanc's own transfers, by libcurl, and token requests take the same way."""
    with Proxy() as proxy, RawServer(says(answer(b"{}", kind="application/json"))) as other:
        servers = {"Servers": {"other": {"Url": other.url}}}
        way_out = f"127.0.0.1:{proxy.port}"
        instance = orthanc(
            configuration(token_server, HttpProxy=way_out, DicomWeb=servers),
            environment={"no_proxy": "127.0.0.1"},
        )
        instance.wait_for_servers("my-google")
        got = instance.request("POST", "/dicom-web/servers/other/get", b'{"Uri": "/studies"}')
        assert got.status == 200
        assert len(other.heads) == 1
    assert proxy.asked == []


BAD = {
    "missing key file": (
        {**SERVICE, "ServiceAccountFile": "/nowhere/key.json"},
        "ServiceAccountFile /nowhere/key.json: there is no such file",
    ),
    "key file not JSON": (
        {**SERVICE, "ServiceAccountFile": "{folder}/text"},
        "ServiceAccountFile {folder}/text: the file is not JSON",
    ),
    "wrong type of key file": (
        {**SERVICE, "ServiceAccountFile": "{folder}/user"},
        "found the type authorized_user, which belongs in AuthorizedUserFile",
    ),
    "only a token": (
        {**SERVICE, "ServiceAccountFile": None, "AuthorizedUserFile": "{folder}/token"},
        "GoogleCloudPlatform.Accounts.only a token.ServiceAccountFile: found null, expected "
        "the name of a file",
    ),
    "only a token, otherwise right": (
        {
            **{k: SERVICE[k] for k in SERVICE if k != "ServiceAccountFile"},
            "AuthorizedUserFile": "{folder}/token",
        },
        "Run 'gcloud auth application-default login'",
    ),
    "key revoked": (
        {**user_account("{revoked}")},
        "answered 400 invalid_grant: Token has been expired or revoked.",
    ),
    "no dataset": (
        {k: v for k, v in SERVICE.items() if k != "Dataset"},
        "GoogleCloudPlatform.Accounts.no dataset.Dataset: missing",
    ),
    "wrong/name": (SERVICE, "this name cannot name a DICOMweb server"),
    "wrong type": (
        5,
        "GoogleCloudPlatform.Accounts.wrong type: found a number, expected an object",
    ),
}


def test_bad_accounts_stop_neither_orthanc_nor_each_other(orthanc, token_server, tmp_path):
    write(tmp_path / "text", "not json")
    write(tmp_path / "user", {"type": "authorized_user"})
    write(tmp_path / "token", {"token": "ya29.dead"})
    token_server.answers["/revoked"] = answers.error(
        "invalid_grant", "Token has been expired or revoked."
    )
    words = {"{folder}": str(tmp_path), "{revoked}": token_server.url.replace("token", "revoked")}

    def filled(value):
        if isinstance(value, dict):
            return {key: filled(inner) for key, inner in value.items()}
        for word, meaning in words.items():
            value = value.replace(word, meaning) if isinstance(value, str) else value
        return value

    accounts = {name: filled(options) for name, (options, _) in BAD.items()}
    accounts["good"] = user_account(token_server.url)
    instance = orthanc({"GoogleCloudPlatform": {"Accounts": accounts, "Timout": 3}})
    instance.wait_for_servers("good")
    for _, message in BAD.values():
        instance.wait_for_log(filled(message))
    assert "Timout: unknown option, did you mean Timeout?" in instance.log
    assert instance.json("GET", "/dicom-web/servers") == ["good"]
    assert "ya29.dead" not in instance.log


@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.builds(lambda v: {"GoogleCloudPlatform": v}, VALUE) | st.builds(with_account, VALUE))
def test_no_configuration_stops_orthanc(tmp_path_factory, made):
    with Orthanc(tmp_path_factory.mktemp("any"), made) as instance:
        instance.wait_for_log("Google Cloud Platform:")
        assert instance.answers()
