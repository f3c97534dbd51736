"""What aborts the C++ plugin's whole Orthanc process leaves ours running.

One Orthanc with an account for each fault and a healthy one: all get a token, then each endpoint
shows its fault, then all recover. A store tells which token each account uses.
"""

from __future__ import annotations

import time

import pytest

from tests.support import token_server as answers
from tests.support.keys import STORE, private_key, service_account, user_account, write
from tests.support.orthanc import wait_until
from tests.support.token_server import token

LIFETIME = 20

FAULTS = {
    "captive portal": (answers.raw(b"<html>Welcome</html>"), "with a web page (a captive portal"),
    "no expires_in": (answers.fields({"access_token": "x"}), "its expires_in is missing"),
    "expires_in is text": (token(lifetime="soon"), "its expires_in is missing or is not a number"),
    "expires_in is null": (token(lifetime=None), "its expires_in is missing"),
    "expires_in is negative": (token(lifetime=-3600), "its expires_in is missing or"),
    "expires_in is absurd": (token(lifetime=10**15), "its expires_in is missing or is not"),
    "no access_token": (answers.fields({"expires_in": 3600}), "its access_token is missing"),
    "empty access_token": (token(""), "its access_token is missing, empty or not a string"),
    "access_token is a number": (token(5), "its access_token is missing, empty or not a string"),
    "access_token with a line break": (
        token("a\r\nX-Injected: 1"),
        "its access_token has characters that no HTTP header may carry",
    ),
    "partial body": (
        answers.raw(b'{"access_token": "ya29', length=400),
        "the answer broke off before its end",
    ),
    "endless body": (answers.endless, "no complete answer within 2 s"),
    "no answer": (answers.hanging, "no complete answer within 2 s"),
    "reset": (answers.reset, "the exchange broke off"),
    "server error": (answers.raw(b"", 500), "answered 500 without an OAuth2 error"),
    "revoked": (
        answers.error("invalid_grant", "Token has been expired or revoked."),
        "answered 400 invalid_grant: Token has been expired or revoked.",
    ),
}


def path(name: str) -> str:
    return "/" + name.replace(" ", "-")


@pytest.mark.timeout(240)
def test_faults_of_the_token_endpoint(orthanc, token_server):
    """The old token stays in use, the reason is logged, the others go on, all recover."""
    base = token_server.url.removesuffix("/token")
    accounts = {}
    for name in [*FAULTS, "healthy"]:
        account = user_account(base + path(name), DicomStore=path(name)[1:])
        accounts[name] = account
        token_server.answers[path(name)] = token(f"old.{path(name)[1:]}", LIFETIME)
    section = {"BaseUrl": f"{base}/v1", "Timeout": 2, "RefreshInterval": 5, "Accounts": accounts}
    instance = orthanc({"GoogleCloudPlatform": section})
    instance.wait_for_servers(*accounts)

    def used(name: str) -> str:
        """The token that the account's DICOMweb server sends, by what the store received."""
        quoted = name.replace(" ", "%20")
        instance.request("POST", f"/dicom-web/servers/{quoted}/get", {"Uri": "/studies"})
        store = f"/v1/projects/{STORE['Project']}/locations/{STORE['Location']}/datasets/test"
        where = f"{store}/dicomStores/{path(name)[1:]}/dicomWeb/studies"
        return token_server.bearers[where].removeprefix("Bearer ")

    for name, (fault, _) in FAULTS.items():
        token_server.answers[path(name)] = fault
    token_server.answers["/healthy"] = token("new.healthy", LIFETIME)
    for name, (_, message) in FAULTS.items():
        instance.wait_for_log(f"account {name}: no new token: {base[7:]}", wait=40)
        line = next(
            line for line in instance.log.splitlines() if f"account {name}: no new token" in line
        )
        assert message in line
        assert "the old one is good for another" in line
        assert "next try in" in line
        assert used(name) == f"old.{path(name)[1:]}"
    wait_until(lambda: used("healthy") == "new.healthy")
    for name in FAULTS:
        token_server.answers[path(name)] = token(f"new.{path(name)[1:]}", LIFETIME)
    began = time.monotonic()
    for name in FAULTS:
        wait_until(
            lambda name=name: used(name) == f"new.{path(name)[1:]}", 40, lambda: instance.log
        )
    assert time.monotonic() - began < 40
    assert "X-Injected" not in str(token_server.bearers)
    assert instance.running


def test_keys_that_cannot_be_used(orthanc, token_server, tmp_path):
    """The C++ plugin aborts Orthanc for both; ours takes the repaired file without a restart."""
    broken = {
        "unusable PEM": {"private_key": "-----BEGIN PRIVATE KEY-----\nAAAA\n"},
        "email is a number": {"client_email": 5},
    }
    accounts = {"healthy": user_account(token_server.url)}
    for name, change in broken.items():
        file = write(tmp_path / name, service_account(token_server.url, **change))
        accounts[name] = {**STORE, "ServiceAccountFile": file}
    instance = orthanc({"GoogleCloudPlatform": {"Accounts": accounts}})
    instance.wait_for_servers("healthy")
    instance.wait_for_log("private_key is not a usable RSA key in PEM form")
    instance.wait_for_log("client_email is not a string")
    assert private_key()[100:140] not in instance.log
    for name in broken:
        write(tmp_path / name, service_account(token_server.url))
    instance.wait_for_servers(*broken, wait=20)
