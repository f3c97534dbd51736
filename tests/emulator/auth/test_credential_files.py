"""Every kind of credential, as google-auth itself reads the files and uses them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import google.auth
import google.auth.aws
import google.auth.exceptions
import google.auth.external_account_authorized_user
import google.auth.identity_pool
import google.auth.impersonated_credentials
import google.auth.pluggable
import google.auth.transport.requests
import google.auth.transport.urllib3
import google.oauth2.credentials
import pytest
import requests
import urllib3
from google.oauth2 import service_account

from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.client import HEALTHCARE, STORE

SCOPES = [HEALTHCARE]


class Caller:
    """Lets google-auth make its requests, and calls the store with what it got."""

    def __init__(self, emulator: Emulator, folder: Path, **pool: Any) -> None:
        self.emulator = emulator
        self.folder = folder
        self.pool = urllib3.PoolManager(retries=False, timeout=10, **pool)
        self.request = google.auth.transport.urllib3.Request(self.pool)

    def json(self, name: str) -> dict[str, Any]:
        return json.loads((self.folder / name).read_text())

    def search(self, token: object) -> int:
        url = f"{self.emulator.url}/v1/{STORE}/dicomWeb/studies"
        return self.pool.request("GET", url, headers={"Authorization": f"Bearer {token}"}).status

    def try_out(self, credentials: Any) -> str:
        """Refresh credentials, use them, and return the token."""
        credentials.refresh(self.request)
        assert credentials.valid
        assert self.search(credentials.token) == 204
        return str(credentials.token)


@pytest.fixture
def caller(emulator: Emulator, credentials: Path) -> Iterator[Caller]:
    caller = Caller(emulator, credentials)
    yield caller
    caller.pool.clear()


def read_pool(name: str) -> Callable[[Caller], Any]:
    def make(caller: Caller) -> Any:
        info = caller.json(f"external-account-{name}.json")
        return google.auth.identity_pool.Credentials.from_info(info, scopes=SCOPES)

    return make


def read_aws(caller: Caller) -> Any:
    info = caller.json("external-account-aws.json")
    return google.auth.aws.Credentials.from_info(info, scopes=SCOPES)


def read_executable(caller: Caller) -> Any:
    info = caller.json("external-account-executable.json")
    return google.auth.pluggable.Credentials.from_info(info, scopes=SCOPES)


def read_staff(caller: Caller) -> Any:
    info = caller.json("external-account-authorized-user.json")
    return google.auth.external_account_authorized_user.Credentials.from_info(info)


def read_impersonated(caller: Caller) -> Any:
    info = caller.json("impersonated-service-account.json")
    source = google.oauth2.credentials.Credentials.from_authorized_user_info(
        info["source_credentials"]
    )
    return google.auth.impersonated_credentials.Credentials(
        source.with_token_uri(caller.emulator.token_uri),
        target_principal=caller.emulator.identities.impersonated.email,
        target_scopes=SCOPES,
        iam_endpoint_override=info["service_account_impersonation_url"],
    )


def read_key(caller: Caller) -> Any:
    info = caller.json("service-account.json")
    return service_account.Credentials.from_service_account_info(info, scopes=SCOPES)


def read_user(caller: Caller) -> Any:
    info = caller.json("authorized-user.json")
    user = google.oauth2.credentials.Credentials.from_authorized_user_info(info)
    return user.with_token_uri(caller.emulator.token_uri)


SOURCES = {
    "key": read_key,
    "user": read_user,
    "file": read_pool("file"),
    "url": read_pool("url"),
    "federated and impersonated": read_pool("impersonated"),
    "executable": read_executable,
    "aws": read_aws,
    "staff": read_staff,
    "impersonated": read_impersonated,
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES", "1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("source", SOURCES)
def test_google_auth_uses_the_file(caller: Caller, source: str) -> None:
    token = caller.try_out(SOURCES[source](caller))
    assert token.startswith("ya29.")


REDIRECTED = ("authorized-user.json", "impersonated-service-account.json")
"""Files whose addresses google-auth ignores: the tests above redirect them in code."""
FOUND = (
    "service-account.json",
    "external-account-file.json",
    "external-account-url.json",
    "external-account-executable.json",
    "external-account-impersonated.json",
    "external-account-aws.json",
    "external-account-certificate.json",
    "external-account-authorized-user.json",
)


@pytest.mark.parametrize("name", FOUND)
def test_default_credentials(caller: Caller, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(caller.folder / name))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "osimis-test")
    credentials, project = google.auth.default(scopes=SCOPES)
    assert project == "osimis-test"
    with requests.Session() as session:
        # This transport takes client certificates, which one of the files has.
        credentials.refresh(google.auth.transport.requests.Request(session))
    assert caller.search(credentials.token) == 204


def test_every_file_with_a_type_is_used_by_google_auth(caller: Caller) -> None:
    files = {path.name for path in caller.folder.glob("*.json") if "type" in caller.json(path.name)}
    assert files == {*FOUND, *REDIRECTED}


def test_the_files_work_over_https(tmp_path: Path, identities: Path) -> None:
    shutil.copy(identities, tmp_path)
    with Emulator(Options(tmp_path, write_credentials=tmp_path, tls=True)) as emulator:
        caller = Caller(emulator, tmp_path, ca_certs=str(emulator.ca))
        for read in SOURCES.values():
            caller.try_out(read(caller))
        caller.pool.clear()


def test_a_certificate_is_a_subject_token(caller: Caller) -> None:
    credentials = read_pool("certificate")(caller)
    shown = []

    def request(*args: Any, cert: Any = None, **kwargs: Any) -> Any:
        # google-auth's own transports of requests take the paths; urllib3 wants them earlier.
        shown.append(cert)
        return caller.request(*args, **kwargs)

    credentials.refresh(request)
    assert shown == [(str(caller.folder / "workload.pem"), str(caller.folder / "workload.key"))]
    assert caller.search(credentials.token) == 204


def test_aws_credentials_of_the_environment(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA0")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "eu-west-2")
    info = caller.json("external-account-aws.json")
    for name in ("region_url", "url", "imdsv2_session_token_url"):
        del info["credential_source"][name]
    caller.try_out(google.auth.aws.Credentials.from_info(info, scopes=SCOPES))


@pytest.mark.parametrize("always", [False, True])
def test_a_jwt_that_the_key_signs_is_an_access_token(caller: Caller, always: bool) -> None:
    key = caller.json("service-account.json")
    if always:
        credentials = service_account.Credentials.from_service_account_info(
            key, scopes=SCOPES, always_use_jwt_access=True
        )
        credentials._create_self_signed_jwt(None)
    else:
        credentials = service_account.Credentials.from_service_account_info(key)
        credentials._create_self_signed_jwt("https://healthcare.googleapis.com/")
    credentials.refresh(caller.request)
    assert str(credentials.token).startswith("eyJ")
    assert caller.search(credentials.token) == 204


def test_a_missing_subject_token_is_what_the_executable_says(caller: Caller) -> None:
    credentials = read_executable(caller)
    (caller.folder / "subject-token.jwt").unlink()
    with pytest.raises(google.auth.exceptions.RefreshError, match="NO_TOKEN"):
        credentials.refresh(caller.request)


def test_a_wrong_audience_is_told_as_google_tells_it(caller: Caller) -> None:
    info = caller.json("external-account-file.json")
    info["audience"] += "x"
    credentials = google.auth.identity_pool.Credentials.from_info(info, scopes=SCOPES)
    with pytest.raises(google.auth.exceptions.OAuthError, match=r"invalid_target.*is invalid"):
        credentials.refresh(caller.request)


def test_impersonation_that_is_denied(caller: Caller) -> None:
    caller.emulator.fault_settings.change(deniedImpersonation=True)
    for source in ("impersonated", "federated and impersonated"):
        with pytest.raises(google.auth.exceptions.RefreshError) as caught:
            SOURCES[source](caller).refresh(caller.request)
        assert "iam.serviceAccounts.getAccessToken" in caught.value.args[1]


def test_files_are_for_their_owner_only(caller: Caller) -> None:
    names = {path.name for path in caller.folder.iterdir()}
    assert {f"external-account-{name}.json" for name in ("file", "url", "aws")} <= names
    for path in caller.folder.iterdir():
        assert path.stat().st_mode & 0o77 == 0, path


MACHINE = """
import google.auth.transport.urllib3, urllib3
from google.auth import compute_engine
from google.auth.compute_engine import _metadata
request = google.auth.transport.urllib3.Request(urllib3.PoolManager())
assert _metadata.ping(request, retry_count=1)
print(_metadata.get_project_id(request))
credentials = compute_engine.Credentials()
credentials.refresh(request)
print(credentials.service_account_email)
print(credentials.token)
"""


def test_the_metadata_server_as_google_auth_asks_it(caller: Caller) -> None:
    host = str(caller.emulator.metadata_host)
    environment = {**os.environ, "GCE_METADATA_HOST": host, "GCE_METADATA_IP": host}
    done = subprocess.run(
        [sys.executable, "-c", MACHINE],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    project, email, token = done.stdout.split()
    assert (project, email) == ("osimis-test", "orthanc@osimis-test.iam.gserviceaccount.com")
    assert caller.search(token) == 204


def test_an_impersonated_token_says_when_it_ends(caller: Caller) -> None:
    credentials = read_impersonated(caller)
    credentials.refresh(caller.request)
    assert abs(credentials.expiry.replace(tzinfo=UTC).timestamp() - time.time() - 3600) < 5
