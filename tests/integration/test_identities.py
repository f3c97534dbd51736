"""Every identity: upload, search and retrieve through a real Orthanc."""

from __future__ import annotations

import base64
import json
from itertools import product
from pathlib import Path

import pytest

from orthanc_gcp.auth.credentials.loading import load
from orthanc_gcp.auth.refresher import acquire
from orthanc_gcp.auth.token_endpoint import TokenEndpoint
from orthanc_gcp.auth.token_source import TokenSource
from orthanc_gcp.clock import SystemClock
from orthanc_gcp.configuration import read
from orthanc_gcp.transport.request import transport
from tests.integration.conftest import job, query
from tests.integration.test_round_trip import sample
from tests.support.emulator import Emulator
from tests.support.keys import STORE
from tests.support.orthanc import wait_until
from tests.support.proxy import Proxy

TARGET = "healthcare@osimis-test.iam.gserviceaccount.com"


@pytest.fixture(scope="module")
def google(tmp_path_factory):
    """An emulator over plain HTTP, as a metadata server is."""
    emulator = Emulator(tmp_path_factory.mktemp("google"), "--admin")
    yield emulator
    emulator.stop()


IMPERSONATING = ("option", "file", "workload")


def impersonating(google, way):
    """The settings of an account whose own identity does not depend on a clock."""
    folder = google.credentials
    user = {"CredentialsFile": str(folder / "authorized-user.json"), "TokenUri": google.token_uri}
    file = str(folder / "impersonated-service-account.json")
    account = {
        "option": {
            **user,
            "ImpersonateServiceAccount": TARGET,
            "IamCredentialsUri": google.url,
        },
        "file": {**user, "CredentialsFile": file},
        "workload": {"CredentialsFile": str(folder / "external-account-impersonated.json")},
    }[way]
    return read(configuration(google, {"a": {**STORE, **account}}))


@pytest.fixture
def any_clock(google):
    """The emulator, whose clock may be another than this machine's for a while."""
    yield google
    google.switch(clockOffset=0)


@pytest.mark.parametrize(
    ("way", "ahead"),
    [
        *product(("option", "file"), (-7200, -1800, 1800, 7200)),
        *product(("workload",), (1800, 7200)),  # a subject token is none of the future
    ],
)
def test_the_end_of_an_impersonated_token_by_a_wrong_clock(any_clock, way, ahead):
    """Google says it by its own clock."""
    settings, clock = impersonating(any_clock, way), SystemClock()
    any_clock.switch(clockOffset=ahead)
    endpoint = TokenEndpoint(transport(settings, clock), clock)
    token = acquire(load(settings.accounts[0], settings), endpoint, clock)
    assert 3500 < token.lifetime < 3610


@pytest.mark.parametrize("way", IMPERSONATING)
def test_a_clock_that_is_set_back_while_somebody_is_impersonated(any_clock, way):
    """By it, the token of who impersonates lives on."""
    source = TokenSource(impersonating(any_clock, way), SystemClock())
    source.start()
    try:
        first = source.authorization("a").token
        any_clock.switch(clockOffset=4000)
        source.renew("a")
        wait_until(lambda: source.authorization("a").token != first)
    finally:
        source.stop()


def configuration(google, accounts):
    section = {"BaseUrl": f"{google.url}/v1beta1/", "RefreshInterval": 1, "Accounts": accounts}
    return {"GoogleCloudPlatform": section}


def environment(google, **more):
    host = google.url.removeprefix("http://")
    return {
        "GCE_METADATA_HOST": host,
        "GCE_METADATA_IP": host,
        "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES": "1",
        "HOME": str(google.folder),
        **more,
    }


def round_trip(orthanc, server, tmp_path):
    path = f"/dicom-web/servers/{server}"
    content = sample(tmp_path, "MR_small.dcm")
    uploaded = orthanc.json("POST", "/instances", content)
    study = orthanc.json("GET", f"/studies/{uploaded['ParentStudy']}")
    uid = study["MainDicomTags"]["StudyInstanceUID"]
    assert job(orthanc, f"{path}/stow", {"Resources": [uploaded["ID"]]})["InstancesCount"] == "1"
    assert len(query(orthanc, path, StudyInstanceUID=uid)) == 1
    orthanc.json("DELETE", f"/studies/{uploaded['ParentStudy']}")
    job(orthanc, f"{path}/retrieve", {"Resources": [{"Study": uid}]})
    assert orthanc.request("GET", f"/instances/{uploaded['ID']}/file").data == content
    orthanc.json("DELETE", f"/studies/{uploaded['ParentStudy']}")


def test_each_kind_of_credential(orthanc, google, tmp_path):
    def file(name):
        return {**STORE, "CredentialsFile": str(google.credentials / f"{name}.json")}

    user = {**file("authorized-user"), "TokenUri": google.token_uri}
    key = json.loads((google.credentials / "service-account.json").read_text())
    impersonating = {"ImpersonateServiceAccount": TARGET, "IamCredentialsUri": google.url}
    accounts = {
        "adc": {**STORE, "Credentials": "ApplicationDefault"},
        "service-account": file("service-account"),
        "user": user,
        "workload-file": file("external-account-file"),
        "workload-url": file("external-account-url"),
        "workload-executable": file("external-account-executable"),
        "workload-impersonated": file("external-account-impersonated"),
        "workload-aws": file("external-account-aws"),
        "workload-certificate": file("external-account-certificate"),
        "workforce-user": file("external-account-authorized-user"),
        "inline": {**STORE, "ServiceAccountJson": key},
        "inline-text": {**STORE, "ServiceAccountJson": json.dumps(key)},
        "inline-base64": {
            **STORE,
            "ServiceAccountJson": base64.b64encode(json.dumps(key).encode()).decode(),
        },
        "inline-variable": {**STORE, "ServiceAccountJson": "${GCP_KEY}"},
        "impersonated-by-key": {**file("service-account"), **impersonating},
        "impersonated-by-delegate": {
            **file("service-account"),
            **impersonating,
            "Delegates": [key["client_email"]],
        },
        "impersonated-by-user": {**user, **impersonating},
        "impersonated-by-adc": {
            **STORE,
            "Credentials": "ApplicationDefault",
            **impersonating,
        },
        "impersonated-file": {
            **file("impersonated-service-account"),
            "TokenUri": google.token_uri,
        },
        "self-signed": {**file("service-account"), "SelfSignedJwt": True},
    }
    encoded = base64.b64encode(json.dumps(key).encode()).decode()
    instance = orthanc(
        configuration(google, accounts), environment=environment(google, GCP_KEY=encoded)
    )
    instance.wait_for_servers(*accounts, wait=40)
    for name in accounts:
        round_trip(instance, name, tmp_path)
    told = {each["Name"]: each for each in instance.json("GET", "/gcp/accounts")}
    assert told["adc"]["Kind"] == "metadata server"
    assert told["adc"]["Identity"].endswith(".gserviceaccount.com")
    assert told["workload-aws"]["Kind"] == "external account (AWS)"
    assert told["workload-certificate"]["Kind"] == "external account (certificate)"
    assert told["impersonated-by-user"]["Identity"] == TARGET
    assert told["impersonated-by-user"]["Kind"] == "service account impersonated by a user"
    assert told["self-signed"]["Refreshes"] >= 1


def test_application_default_credentials_by_file(orthanc, google, tmp_path):
    """The file that is named, then gcloud's own, before the metadata server."""
    named = str(google.credentials / "service-account.json")
    account = {"adc": {**STORE, "Credentials": "ApplicationDefault"}}
    instance = orthanc(
        configuration(google, account),
        environment=environment(google, GOOGLE_APPLICATION_CREDENTIALS=named),
    )
    instance.wait_for_servers("adc")
    assert instance.json("GET", "/gcp/accounts/adc")["Kind"] == "service account"
    round_trip(instance, "adc", tmp_path)

    folder = tmp_path / "gcloud"
    folder.mkdir()
    Path(folder / "application_default_credentials.json").write_text(Path(named).read_text())
    instance = orthanc(
        configuration(google, account), environment=environment(google, CLOUDSDK_CONFIG=str(folder))
    )
    instance.wait_for_servers("adc")
    assert instance.json("GET", "/gcp/accounts/adc")["Kind"] == "service account"


def test_self_signed_tokens_need_no_token_endpoint(orthanc, google):
    account = {
        **STORE,
        "ServiceAccountFile": str(google.credentials / "service-account.json"),
        "SelfSignedJwt": True,
        "TokenUri": "http://127.0.0.1:9/nobody-listens",
    }
    instance = orthanc(configuration(google, {"a": account}))
    instance.wait_for_servers("a")
    query(instance, "/dicom-web/servers/a")


def test_no_call_that_google_auth_adds_on_its_own(orthanc, google, tmp_path):
    """google-auth looks up 'allowed locations' behind one's back, at hosts outside."""
    accounts = {
        "key": {**STORE, "CredentialsFile": str(google.credentials / "service-account.json")},
        "adc": {**STORE, "Credentials": "ApplicationDefault"},
    }
    with Proxy() as proxy:
        way_out = f"http://127.0.0.1:{proxy.port}"
        instance = orthanc(
            configuration(google, accounts), environment=environment(google, https_proxy=way_out)
        )
        instance.wait_for_servers(*accounts)
        for name in accounts:
            round_trip(instance, name, tmp_path)
        assert proxy.asked == []
