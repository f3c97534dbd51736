"""An account of the emulator, in which each fault can be made, and how it is checked."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from orthanc_gcp.auth.credentials.identity import Identity
from orthanc_gcp.auth.credentials.loading import load
from orthanc_gcp.clock import SystemClock
from orthanc_gcp.configuration import read
from orthanc_gcp.doctor.examination import Examination
from orthanc_gcp.plugin import script
from orthanc_gcp.transport.request import transport
from tests.support import token_server as answers
from tests.support.account_faults import Case
from tests.support.certificates import Authority
from tests.support.emulator import STORE_PATH, Emulator
from tests.support.keys import STORE, service_account, write
from tests.support.orthanc import DICOMWEB, PYTHON
from tests.support.raw_server import Behaviour, RawServer, answer, says
from tests.support.token_server import TokenServer


@pytest.fixture(scope="module")
def google(tmp_path_factory):
    emulator = Emulator(tmp_path_factory.mktemp("google"), "--admin")
    yield emulator
    emulator.stop()


@pytest.fixture
def case(google, tmp_path, monkeypatch):
    account = {**STORE, "ServiceAccountFile": str(google.credentials / "service-account.json")}
    section = {"BaseUrl": f"{google.url}/v1beta1/"}
    policy = google.call("GET", f"{STORE_PATH}:getIamPolicy")
    healthy = google.switches()
    script_file = tmp_path / "gcp.py"
    script_file.write_text(script.text())
    whole = {"Plugins": [str(DICOMWEB), str(PYTHON)], "PythonScript": str(script_file)}
    made = Case(google, tmp_path, monkeypatch, account, section, whole)
    yield made
    for each in made.closing:
        each.__exit__(None, None, None)
    google.switch(**healthy)
    bindings = {"bindings": policy.get("bindings", [])}
    google.call("POST", f"{STORE_PATH}:setIamPolicy", {"policy": bindings})


@pytest.fixture
def lying_store(case):
    """A store that grants everything, answers 200 to an upload and stores nothing."""
    server = TokenServer()
    case.closing.append(server)
    names = [f"healthcare.dicomStores.dicomWeb{verb}" for verb in ("Read", "Write", "Delete")]
    path = f"/v1/{STORE_PATH}:testIamPermissions"
    server.answers[path] = answers.fields({"permissions": names})
    case.section["BaseUrl"] = f"http://127.0.0.1:{server.port}/v1"
    return server


@pytest.fixture
def examination(tmp_path) -> Callable[..., Examination]:
    """A maker of what is known of an account that has a key: options, and those of Orthanc."""

    def make(
        section: dict[str, Any] | None = None,
        whole: dict[str, Any] | None = None,
        key: dict[str, Any] | None = None,
        **account: Any,
    ) -> Examination:
        file = tmp_path / "key.json"
        write(file, {**service_account("https://oauth2.googleapis.com/token"), **(key or {})})
        accounts = {"a": {**STORE, "ServiceAccountFile": str(file), **account}}
        options = {"GoogleCloudPlatform": {"Timeout": 5, **(section or {}), "Accounts": accounts}}
        settings = read({**options, **(whole or {})})
        assert settings.accounts, settings.problems
        clock = SystemClock()
        about = Examination(
            settings.accounts[0], settings, transport(settings, clock), clock, write=False
        )
        about.identity = load(about.account, settings)
        assert isinstance(about.identity, Identity)
        return about

    return make


@pytest.fixture
def serve(tmp_path) -> Iterator[Callable[..., RawServer]]:
    """A maker of servers that behave as they are told to; with TLS by a test's authority."""
    servers = []

    def make(behave: Behaviour | None = None, *, tls: bool = False, **issued: int) -> RawServer:
        context = None
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*Authority(tmp_path).issue("127.0.0.1", **issued))
        server = RawServer(behave or says(answer(b"{}", Connection="close")), context)
        servers.append(server)
        return server

    yield make
    for server in servers:
        server.__exit__()
