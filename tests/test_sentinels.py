"""Whoever is asked repeats what it was sent, in each way that there is: nothing of it goes further.

Secrets and values of a patient stand in each answer, in several spellings. What becomes of them in
a real Orthanc is in ``tests/integration/test_sentinels.py``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from io import StringIO
from typing import Any
from urllib.parse import quote

import pytest
from click.testing import CliRunner
from google.oauth2.credentials import Credentials

from orthanc_gcp.auth.credentials import loading
from orthanc_gcp.auth.refresher import acquire
from orthanc_gcp.auth.token_endpoint import TokenEndpoint
from orthanc_gcp.cli import app
from orthanc_gcp.clock import SystemClock
from orthanc_gcp.configuration import read
from orthanc_gcp.dicomweb import DicomStore, Part, SourceError
from orthanc_gcp.dicomweb.error_response import refusal
from orthanc_gcp.emulator.faults.refusals import REFUSALS, Call, CallRefusal, GrantRefusal
from orthanc_gcp.errors import GcpError
from orthanc_gcp.logs import MaskingFormatter
from orthanc_gcp.reasons import ApiReason, RpcCode
from orthanc_gcp.transport.authorization import Authorization
from orthanc_gcp.transport.request import Transport
from tests.dicomweb.parts import part_from
from tests.support import token_server as answers
from tests.support.echo import SHAPES, EchoServer, found_in
from tests.support.keys import STORE, service_account, write

TOKEN = "opaque.Zz-access_77token"
PATIENT = ("Zebrafinch^Annabel", "Zebrafinch", "Annabel", "ZBR/0042-x", "19700131", "ACC*5591")
USER = {
    "client_id": "client-0001",
    "client_secret": "zz-secret/0002+3=",
    "refresh_token": "zz-refresh/0003+4=",
}
PASSWORD = "zz-pass/word@0004"
SECRETS = (TOKEN, USER["client_secret"], USER["refresh_token"], PASSWORD)
UID = "1.2.826.0.1.3680043.8.498.1234567890123"


@pytest.fixture
def written() -> Iterator[StringIO]:
    """All that anybody logs, as it would be written, from the least level on."""
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(MaskingFormatter("%(name)s %(message)s"))
    handler.addFilter(lambda record: not record.name.startswith("urllib3"))
    root, own = logging.getLogger(), logging.getLogger("orthanc_gcp")
    levels = root.level, own.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    own.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    root.setLevel(levels[0])
    own.setLevel(levels[1])


def words_of(error: BaseException | None) -> str:
    """Whatever of an error could be shown."""
    words = ""
    while isinstance(error, GcpError):
        words += f" {error} {error!r} {error.reason} {error.kind} {vars(error)}"
        error = error.__cause__
    return words


def attempt(call, *arguments) -> str:
    """What is said when something is asked for: the error, or the answer."""
    try:
        found = call(*arguments)
        return f"{found!r}"
    except GcpError as error:
        return words_of(error)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_store(shape: str, written: StringIO) -> None:
    with EchoServer(PATIENT, [shape]) as server:
        store = DicomStore(f"{server.url}/dicomWeb", lambda: Authorization(TOKEN), timeout=5)

        def send():
            return store.store([part_from([b"x" * 100 + UID.encode()], 100 + len(UID), UID)])

        def open_file():
            with store.open("1.2", "1.3", UID) as pieces:
                for _ in pieces:  # the bytes are the caller's, an error is everybody's
                    pass

        said = [
            attempt(send),
            attempt(list, store.instances("1.2")),
            attempt(list, store.studies()),
            attempt(open_file),
            attempt(store.stored_size, "1.2", "1.3", UID),
        ]
        with pytest.raises(GcpError) as caught:
            store.metadata("1.2", "1.3", UID)  # an answer would be a patient's
        said.append(words_of(caught.value))
        assert server.said == {shape}
    assert found_in(f"{said} {written.getvalue()}", [*PATIENT, *SECRETS]) == []
    assert any(len(one) > 20 for one in said), "nothing was said at all"


def test_the_reasons_of_google_are_said_all_the_same() -> None:
    document = {"error": {"status": RpcCode.PERMISSION_DENIED, "message": f"denied for {TOKEN}"}}
    document["error"]["details"] = [{"reason": ApiReason.SERVICE_DISABLED}]
    with EchoServer() as server:
        body = json.dumps(document).encode()
        head = f"HTTP/1.1 403 No\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        server.answers["/dicomWeb/studies"] = head + body
        store = DicomStore(f"{server.url}/dicomWeb", lambda: Authorization(TOKEN))
        with pytest.raises(GcpError, match=r"enable it \(denied for …\)"):
            store.store([part_from([b"x"], 1)])


@pytest.mark.parametrize("shape", SHAPES)
def test_a_token_endpoint(shape: str, written: StringIO, tmp_path) -> None:
    endpoint = TokenEndpoint(Transport(timeout=5, verbose=True), SystemClock())
    key = service_account("")
    with EchoServer(PATIENT, [shape]) as server:
        source = {"url": f"{server.url}/subject", "headers": {"X-Secret": USER["client_secret"]}}
        files = {
            "ServiceAccountFile": {**key, "token_uri": server.url},
            "CredentialsFile": {
                "type": "external_account",
                "audience": "//iam.googleapis.com/x",
                "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
                "token_url": server.url,
                "credential_source": source,
            },
        }
        identities = [loading.Identity("user", Credentials(None, token_uri=server.url, **USER))]
        for option, document in files.items():
            write(tmp_path / f"{option}.json", document)
            account = {**STORE, option: f"{option}.json"}
            settings = read({"GoogleCloudPlatform": {"Accounts": {"a": account}}}, tmp_path)
            identities.append(loading.load(settings.accounts[0], settings))
        said = [attempt(acquire, one, endpoint, SystemClock()) for one in identities]
    line = key["private_key"].splitlines()[3]
    assert found_in(f"{said} {written.getvalue()}", [*PATIENT, *SECRETS, line]) == []
    assert all(len(one) > 20 for one in said)


PROXIED = ("web page", "407", "status line", "status", "header without a colon", "redirect")


@pytest.mark.parametrize("shape", PROXIED)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy(shape: str, scheme: str, written: StringIO) -> None:
    with EchoServer(PATIENT, [shape]) as server:
        proxy = f"http://me:{quote(PASSWORD, safe='')}@127.0.0.1:{server.port}"
        store = DicomStore(
            f"{scheme}://store.example/dicomWeb",
            lambda: Authorization(TOKEN),
            proxy=proxy,
            timeout=5,
        )
        said = attempt(list, store.instances("1.2"))
        transport = Transport(5, proxy=proxy)
        with pytest.raises(GcpError) as caught:
            TokenEndpoint(transport, SystemClock())(f"{scheme}://token.example/", "POST", b"a=b")
        said += words_of(caught.value)
    assert found_in(said + written.getvalue(), [*PATIENT, *SECRETS]) == []
    assert PASSWORD not in said


@pytest.mark.parametrize(
    "shape", ["google 400", "google 403", "oauth", "plain text", "headers", "status line", "401"]
)
def test_the_check_of_an_account(shape: str, written: StringIO, tmp_path) -> None:
    granted = {"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"}
    body = json.dumps(granted).encode()
    with EchoServer(PATIENT, [shape]) as server:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        server.answers["/token"] = head + body
        key = write(tmp_path / "key.json", service_account(f"{server.url}/token"))
        section = {
            "BaseUrl": f"{server.url}/v1/",
            "Accounts": {"a": {**STORE, "ServiceAccountFile": str(key)}},
        }
        file = write(tmp_path / "orthanc.json", {"GoogleCloudPlatform": section})
        done = CliRunner().invoke(app, ["check", "--json", "--write", str(file)])
    said = done.stdout + done.stderr + written.getvalue()
    assert '"failed"' in done.stdout
    assert found_in(said, [*PATIENT, *SECRETS]) == []


def test_a_source_that_fails_with_values_of_a_patient() -> None:
    def read_file():
        raise ValueError(f"cannot decode {PATIENT[0]}")

    part = Part("1.2", "1.3", UID, 10, read_file)
    with EchoServer() as server:
        store = DicomStore(f"{server.url}/dicomWeb", lambda: Authorization(TOKEN))
        with pytest.raises(SourceError) as caught:
            store.store([part])
    assert found_in(words_of(caught.value), PATIENT) == []


CALL = Call("google.cloud.healthcare.v1.DicomWebService.StoreInstances", "us", "12345", True)
OF_CALLS = {name: one for name, one in REFUSALS.items() if isinstance(one, CallRefusal)}


def echoing(value: Any, key: str = "") -> Any:
    """The same JSON, in which each text for people is followed by what was sent."""
    if isinstance(value, dict):
        return {name: echoing(one, name) for name, one in value.items()}
    if isinstance(value, list):
        return [echoing(one) for one in value]
    texts = ("message", "description", "error_description", "uid", "troubleshootToken")
    return f"{value} {TOKEN} {' '.join(PATIENT)}" if key in texts else value


@pytest.mark.parametrize("name", OF_CALLS)
def test_each_refusal_of_google_with_an_echo(name: str) -> None:
    answer = OF_CALLS[name].response(CALL)
    pure, mixed = (
        refusal("storing", answer.status_code, dict(answer.headers), body, TOKEN)
        for body in (bytes(answer.body), json.dumps(echoing(json.loads(answer.body))).encode())
    )
    assert (mixed.reason, mixed.status) == (pure.reason, pure.status)
    assert found_in(words_of(mixed), [*PATIENT, *SECRETS]) == []
    assert str(mixed).count("…") <= str(pure).count("…") + 1, "what it says is said all the same"


@pytest.mark.parametrize(
    "refused", [one for one in REFUSALS.values() if isinstance(one, GrantRefusal)], ids=str
)
def test_each_refusal_of_a_grant_with_an_echo(refused: GrantRefusal, token_server) -> None:
    words = refused.description.replace("{issued}", "1700000000")
    secret = USER["refresh_token"]
    token_server.answer = answers.error(refused.error, f"{words} {secret} {' '.join(PATIENT)}")
    endpoint = TokenEndpoint(Transport(5), SystemClock())
    identity = loading.Identity("user", Credentials(None, token_uri=token_server.url, **USER))
    with pytest.raises(GcpError) as caught:
        acquire(identity, endpoint, SystemClock())
    assert caught.value.reason == refused.error
    shown = refused.description.replace("{issued}", "…")
    assert str(caught.value).endswith(f"400 {refused.error}: {shown} …")
