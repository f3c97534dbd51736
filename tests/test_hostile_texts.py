"""What others say never breaks a line of the log, fills it, colours a terminal, or tells a secret.

Each place where foreign text gets into a message of ours is given the same hostile one.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

import pytest
from google.auth.exceptions import RefreshError
from google.oauth2.credentials import Credentials

from orthanc_gcp.auth.credentials import loading
from orthanc_gcp.auth.refresher import acquire
from orthanc_gcp.auth.token_endpoint import TokenEndpoint
from orthanc_gcp.clock import SystemClock
from orthanc_gcp.configuration import read
from orthanc_gcp.connector.servers import Servers
from orthanc_gcp.dicomweb import DicomStore
from orthanc_gcp.dicomweb.store_response import judge
from orthanc_gcp.errors import CredentialError, GcpError
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.transport.authorization import Authorization
from orthanc_gcp.transport.request import Transport
from tests.dicomweb.parts import part_from
from tests.support import token_server as answers
from tests.support.keys import STORE, USER, write
from tests.support.raw_server import RawServer

SECRET = "ya29.hush-hush"
HOSTILE = f"a\r\nX-Injected: b\x1b[31m\u202e {SECRET} " + "x" * 1_000_000
LONGEST = 700
"""Of a message: two foreign texts, and what is said of them."""


def harmless(text: str) -> bool:
    return text.isprintable() and len(text) <= LONGEST and SECRET not in text


def failure(call, *arguments) -> str:
    with pytest.raises(GcpError) as caught:
        call(*arguments)
    assert caught.value.reason.isprintable()
    assert len(caught.value.reason) < 100
    return str(caught.value)


def user(server) -> loading.Identity:
    return loading.Identity("user", Credentials(None, token_uri=server.url, **USER))


ENDPOINT = TokenEndpoint(Transport(timeout=5), SystemClock())


@pytest.mark.parametrize(
    "document",
    [
        {"error": HOSTILE[:200_000], "error_description": "b"},
        {"error": "invalid_grant", "error_description": HOSTILE[:200_000]},
        {"error": {"status": HOSTILE[:1000], "message": HOSTILE[:200_000]}},
    ],
)
def test_a_token_endpoint(token_server, document):
    token_server.answer = answers.fields(document, 400)
    assert harmless(failure(acquire, user(token_server), ENDPOINT, SystemClock()))


def test_a_token_endpoint_that_is_a_web_page(token_server):
    token_server.answer = answers.raw(HOSTILE[:500_000].encode(), kind="x" * 30_000)
    assert harmless(failure(acquire, user(token_server), ENDPOINT, SystemClock()))


def test_google_auth():
    class Hostile:
        def refresh(self, _):
            raise RefreshError(HOSTILE)

    assert harmless(failure(acquire, loading.Identity("x", Hostile()), ENDPOINT, SystemClock()))


@pytest.mark.parametrize(
    "body", [HOSTILE.encode()[:60_000], json.dumps({"error": {"message": HOSTILE[:9000]}}).encode()]
)
@pytest.mark.parametrize("kind", ["text/plain", "application/json", "text/html"])
def test_a_store_that_refuses(body, kind):
    head = f"HTTP/1.1 403 Forbidden\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"

    def refuse(connection, _):
        connection.sendall(head.encode() + body)

    with RawServer(refuse) as server:
        store = DicomStore(server.url, lambda: Authorization("ya29.x"))
        assert harmless(failure(list, store.instances("1.2")))
        assert harmless(failure(store.metadata, "1", "2", "3"))


def test_a_store_that_failed_an_instance():
    """FailureDetailJSON (0009,1097) and names of others."""
    parts = [part_from([b""], 0, uid) for uid in ("1.2.3", "1.2.4")]
    item = {"00081155": {"Value": ["1.2.3"]}, "00091097": {"Value": [HOSTILE]}}
    answer = {
        "00081198": {"Value": [item]},
        "00081199": {"Value": [{"00081155": {"Value": [HOSTILE]}}]},
    }
    results = judge(parts, json.dumps(answer).encode())
    assert len({result.status for result in results.values()}) == 2
    assert all(harmless(result.detail) for result in results.values())


def test_an_address_of_a_store():
    store = DicomStore(
        f"http://user:{SECRET}@127.0.0.1:1/a\x1b[31m?{SECRET}/dicomWeb", lambda: Authorization("x")
    )
    assert harmless(failure(list, store.instances("1.2")))


def test_orthanc():
    def refuse(connection, _):
        connection.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")

    with RawServer(refuse) as server:
        rest = OrthancRest(f"http://user:{SECRET}@127.0.0.1:{server.port}/")
        assert harmless(failure(rest.call, "GET", f"/{HOSTILE[:20_000]}"))


@pytest.mark.parametrize("url", ["http://host/a\nb", f"http://user:{SECRET}@host/?x", HOSTILE])
def test_an_address_of_orthanc(url):
    assert harmless(failure(OrthancRest, url))


@pytest.mark.parametrize(
    "content",
    [
        HOSTILE,
        {"type": HOSTILE},
        {"type": "service_account", "client_email": HOSTILE, "private_key": HOSTILE},
        {"type": "external_account", "audience": HOSTILE, "credential_source": {"file": HOSTILE}},
        {"type": "external_account", "credential_source": HOSTILE, "subject_token_type": ""},
        {"type": "external_account_authorized_user", "audience": HOSTILE},
        {"type": "impersonated_service_account", "service_account_impersonation_url": HOSTILE},
        {"type": "authorized_user", **USER, "quota_project_id": HOSTILE},
    ],
    ids=range(8),
)
def test_a_credential_file(tmp_path, content):
    write(tmp_path / "file.json", content)
    options = {**STORE, "CredentialsFile": "file.json"}
    settings = read({"GoogleCloudPlatform": {"Accounts": {"a": options}}}, tmp_path)
    with pytest.raises(CredentialError) as caught:
        loading.load(settings.accounts[0], settings)
    assert harmless(str(caught.value))


def test_who_a_credential_file_says_that_it_is(tmp_path):
    write(tmp_path / "file.json", {"type": "authorized_user", **USER, "account": f"a@b{HOSTILE}"})
    options = {**STORE, "CredentialsFile": "file.json"}
    settings = read({"GoogleCloudPlatform": {"Accounts": {"a": options}}}, tmp_path)
    identity = loading.load(settings.accounts[0], settings)
    assert harmless(identity.email)
    assert identity.key_age(datetime.now(UTC)) is None


def test_the_version_of_a_plugin(caplog):
    class Plugin:
        def version(self):
            return f"0.1 {HOSTILE}"

    with caplog.at_level(logging.WARNING):
        assert not Servers(Plugin(), read({}), SystemClock()).open()
    assert harmless(caplog.messages[0])


def test_an_address_that_is_asked():
    url = f"http://user:{SECRET}@[/{HOSTILE[:1000]}"
    assert harmless(failure(Transport(timeout=1), url))
