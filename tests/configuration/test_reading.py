"""Orthanc's JSON -> Settings: what is honoured, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthanc_gcp.configuration import read
from orthanc_gcp.configuration.option_types import option_names
from orthanc_gcp.configuration.options import Account, DicomWeb, Globals, Section
from tests.support.configurations import PATH, SERVICE, STRINGS, texts, with_account
from tests.support.keys import STORE


def test_the_sample_configuration_of_the_original():
    settings = read(
        {"HttpsCACertificates": "/ca.crt", "Plugins": ["."], **with_account(SERVICE)}, Path("/etc")
    )
    assert texts(settings) == []
    (account,) = settings.accounts
    assert account.name == "my-google"
    assert settings.dicomweb_url(account) == (
        "https://healthcare.googleapis.com/v1beta1/projects/osimis-test/locations/europe-west2"
        "/datasets/test/dicomStores/dicom/dicomWeb/"
    )
    assert settings.ca_certificates == Path("/ca.crt")
    assert (settings.timeout, settings.refresh_interval) == (60, 60)
    assert settings.servers_root == "/dicom-web/servers/"
    assert account.scopes == ("https://www.googleapis.com/auth/cloud-healthcare",)


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        ("/dicom-web/", "/dicom-web/servers/"),
        ("/dicom-web", "/dicom-web/servers/"),
        ("dw//x", "/dw/x/servers/"),
        ("/", "/servers/"),
    ],
)
def test_the_dicomweb_root(root, expected):
    assert read({"DicomWeb": {"Root": root}}).servers_root == expected


def test_options_of_the_section():
    options = {"BaseUrl": "http://localhost:8085/v1", "Timeout": 5, "RefreshInterval": 0}
    settings = read(with_account(SERVICE, **options))
    assert (settings.timeout, settings.refresh_interval) == (5, 60)
    assert settings.dicomweb_url(settings.accounts[0]).startswith("http://localhost:8085/v1/proj")
    assert texts(settings) == []


def test_relative_files(tmp_path, monkeypatch):
    """A CA file lies beside the configuration; a key, in the working directory or there."""
    beside, here = tmp_path / "etc", tmp_path / "run"
    beside.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    settings = read({"HttpsCACertificates": "ca.pem"}, beside)
    assert settings.ca_certificates == beside / "ca.pem"
    assert settings.credential_file("key.json") == beside / "key.json"
    (here / "key.json").touch()
    assert settings.credential_file("key.json").resolve() == here / "key.json"
    assert settings.credential_file("/abs/key.json") == Path("/abs/key.json")


@pytest.mark.parametrize(
    "configuration",
    [{}, {"GoogleCloudPlatform": {}}, with_account({}) | {"GoogleCloudPlatform": {"Accounts": {}}}],
)
def test_no_account_is_a_warning(configuration):
    (problem,) = read(configuration).problems
    assert str(problem) == "No Google Cloud Platform account is configured"
    assert not problem.error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (3, f"{PATH}: found a number, expected an object"),
        (
            {**SERVICE, "Dataset": 5},
            f"{PATH}.Dataset: found 5, expected a string of letters, digits, '-', '_', '.' or ':'",
        ),
        (
            {**SERVICE, "Dataset": "a/b"},
            f"{PATH}.Dataset: found 'a/b', expected a string of "
            "letters, digits, '-', '_', '.' or ':'",
        ),
        (
            {k: v for k, v in SERVICE.items() if k != "Project"},
            f"{PATH}.Project: missing, expected a string of letters, digits, '-', '_', '.' or ':'",
        ),
        (
            {**SERVICE, "ServiceAccountFile": ""},
            f"{PATH}.ServiceAccountFile: found an empty string, expected the name of a file",
        ),
        (
            STORE,
            f"{PATH}: no credential, expected one of Credentials; CredentialsFile; "
            "ServiceAccountJson; ServiceAccountFile; AuthorizedUserFile; AuthorizedUserClientId, "
            "AuthorizedUserClientSecret, AuthorizedUserRefreshToken",
        ),
        (
            {**STORE, "AuthorizedUserClientId": "x"},
            f"{PATH}.AuthorizedUserClientSecret: missing, expected a string",
        ),
        (
            {**STORE, **STRINGS, "AuthorizedUserClientSecret": 5},
            f"{PATH}."
            "AuthorizedUserClientSecret: found a number, expected a string that is not "
            "empty",
        ),
        (
            {**SERVICE, "Scopes": []},
            f"{PATH}.Scopes: found a list, expected a list of strings, at least one",
        ),
        (
            {**STORE, **STRINGS, "TokenUri": "ftp://x"},
            f"{PATH}.TokenUri: found a string, expected "
            "an address that begins with https:// or http://",
        ),
        (
            {**SERVICE, "Server": {"Timeout": "5"}},
            f"{PATH}.Server.Timeout: found '5', expected a whole number of seconds",
        ),
        (
            {**SERVICE, "Server": {"Chunked": None}},
            f"{PATH}.Server.Chunked: found null, expected a string, a boolean or a whole number",
        ),
        (
            {**SERVICE, "Server": {"HttpHeaders": {"X": "a\r\nY: b"}}},
            f"{PATH}.Server.HttpHeaders: "
            "found an object, expected an object of strings without line breaks",
        ),
    ],
)
def test_a_wrong_account_is_named_and_left_out(options, message):
    configuration = with_account(options)
    configuration["GoogleCloudPlatform"]["Accounts"]["good"] = SERVICE
    settings = read(configuration)
    assert [account.name for account in settings.accounts] == ["good"]
    assert message in [str(problem) for problem in settings.problems if problem.error]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "line\nbreak", "a\r", "nul\0"])
def test_names_that_no_dicomweb_server_can_have(name):
    settings = read(with_account(SERVICE, name))
    assert settings.accounts == ()
    (problem,) = settings.problems
    assert "cannot name a DICOMweb server, expected printable characters without a slash" in str(
        problem
    )


@pytest.mark.parametrize("name", ["with space", "übung", "100%", "日本", "a.b-c_d"])
def test_names_that_are_unusual_but_right(name):
    assert [account.name for account in read(with_account(SERVICE, name)).accounts] == [name]


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        (
            with_account(SERVICE, Timeout="60"),
            "GoogleCloudPlatform.Timeout: found '60', expected a "
            "whole number of seconds, from 0 to 86400; the default is used",
        ),
        (
            with_account(SERVICE, RefreshInterval=-1),
            "GoogleCloudPlatform.RefreshInterval: found "
            "-1, expected a whole number of seconds, from 0 to 86400; the default is used",
        ),
        (
            with_account(SERVICE, BaseUrl="healthcare"),
            "GoogleCloudPlatform.BaseUrl: found "
            "a string, expected an address that begins with https:// or http://; no account is "
            "used",
        ),
        (
            {**with_account(SERVICE), "HttpsVerifyPeers": "no"},
            "HttpsVerifyPeers: found 'no', expected true or false; no account is used, "
            "and no webhook, and no e-mail",
        ),
        (
            {**with_account(SERVICE), "HttpProxy": "socks5://u:pw@x"},
            "HttpProxy: found a string, "
            "expected a proxy as host:port or http://user:password@host:port; no account is used, "
            "and no webhook, and no e-mail",
        ),
        (
            {**with_account(SERVICE), "DicomWeb": []},
            "DicomWeb: found a list, expected an object; no account is used",
        ),
        (
            {"GoogleCloudPlatform": 5},
            "GoogleCloudPlatform: found a number, expected an object; nothing is sent by it",
        ),
        (
            {"GoogleCloudPlatform": {"Accounts": []}},
            "GoogleCloudPlatform.Accounts: found a list, expected an object",
        ),
    ],
)
def test_a_wrong_option_outside_the_accounts(configuration, message):
    assert message in [str(p) for p in read(configuration).problems if p.error]


@pytest.mark.parametrize("section", [[], 5, None, "{}"], ids=repr)
def test_a_section_that_is_no_object_is_one_that_was_meant(section):
    """What is protected for its rules stays so."""
    assert read({"GoogleCloudPlatform": section}).protects
    assert not read({}).protects


def test_an_unknown_option_is_a_warning_and_a_misspelt_one_as_wrong_as_its_value():
    """The C++ plugin ignores both; but what was misspelt may have said where data go."""
    remarks = {"ProjectName": "x", "Whatever": 1, "//": "a remark"}
    settings = read(with_account({**SERVICE, **remarks}, RefreshIntervall=5))
    assert len(settings.accounts) == 1
    assert texts(settings) == [
        "GoogleCloudPlatform.RefreshIntervall: unknown option, did you mean RefreshInterval?; the "
        "default is used",
        f"{PATH}.ProjectName: unknown option, did you mean Project?",
        f"{PATH}.Whatever: unknown option, ignored",
        f"{PATH}.//: unknown option, ignored",
    ]
    assert not any(problem.error for problem in settings.problems)


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("QuotaProjct", "QuotaProject"),
        ("quotaproject", "QuotaProject"),
        ("DicomStores", "DicomStore"),
        ("Porject", "Project"),
        ("ImpersonateServiceAcount", "ImpersonateServiceAccount"),
        ("Verfy", "Verify"),
        ("TokenURI", "TokenUri"),
    ],
)
def test_a_misspelt_option_of_an_account_is_an_error(key, meant):
    settings = read(with_account({**SERVICE, key: "x"}))
    assert settings.accounts == ()
    (problem,) = settings.rejected["my-google"]
    assert str(problem) == f"{PATH}.{key}: unknown option, did you mean {meant}?"


def test_several_credentials_are_a_warning():
    settings = read(with_account({**SERVICE, "AuthorizedUserFile": "u.json", **STRINGS}))
    assert len(settings.accounts) == 1
    assert texts(settings) == [
        f"{PATH}: several credentials: ServiceAccountFile is used, AuthorizedUserFile; "
        "AuthorizedUserClientId, AuthorizedUserClientSecret, AuthorizedUserRefreshToken ignored"
    ]


def test_risks_are_warnings():
    configuration = with_account(SERVICE, BaseUrl="http://gateway.example/v1")
    configuration |= {
        "HttpsVerifyPeers": False,
        "HttpVerbose": True,
        "DicomWeb": {"ServersInDatabase": True},
    }
    settings = read(configuration)
    assert texts(settings) == [
        "GoogleCloudPlatform.BaseUrl: access tokens will cross the network unencrypted, expected "
        "https://",
        "HttpsVerifyPeers: certificates are not checked, anybody on the way can read access tokens",
        "HttpVerbose: Orthanc writes the headers of its own requests, access tokens included, on "
        "its standard error, and so into the journal: for a short trial only",
        "DicomWeb.ServersInDatabase: access tokens will lie unencrypted in Orthanc's database "
        "while it runs",
    ]


def test_a_store_that_two_accounts_may_name_differently():
    accounts = {
        "id": {**STORE, **SERVICE},
        "number": {**STORE, **SERVICE, "Project": "123456789012"},
        "another store": {**STORE, **SERVICE, "Project": "123456789012", "DicomStore": "other"},
    }
    settings = read({"GoogleCloudPlatform": {"Accounts": accounts}})
    assert len(settings.accounts) == 3
    assert texts(settings) == [
        "GoogleCloudPlatform.Accounts.number.Project: if this is the number of the project of the "
        "account id, both are one store, in which each would replace what the other has "
        "confirmed: give its ID"
    ]


def test_secrets_are_in_no_message_and_no_repr():
    secrets = ["the-secret", "the-refresh-token", "pw-1", "header-1"]
    account = {
        **STORE,
        "AuthorizedUserClientId": ["the-secret"],
        "AuthorizedUserClientSecret": {"a": "the-secret"},
        "AuthorizedUserRefreshToken": "the-refresh-token",
        "Server": {"HttpHeaders": "header-1", "Password": ["pw-1"]},
    }
    configuration = with_account(account)
    configuration["GoogleCloudPlatform"]["Accounts"]["good"] = {
        **STORE,
        **STRINGS,
        "Server": {"Password": "pw-1"},
    }
    assert len(read(configuration).accounts) == 1
    configuration["HttpProxy"] = "gopher://user:pw-1@host"
    for secret in secrets:
        assert secret not in repr(read(configuration))


OPTION = st.sampled_from(
    sorted(
        {
            *option_names(Account),
            *option_names(Section),
            *option_names(Globals),
            "Accounts",
            *option_names(DicomWeb),
            "GoogleCloudPlatform",
            "DicomWeb",
            "Servers",
            "HttpHeaders",
            "my-google",
            "",
            "x/y",
        }
    )
)
VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)  # JSON has no others
    | st.text(max_size=8)
    | st.sampled_from(["a", "http://[", "https://x/", "key.json"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(OPTION | st.text(max_size=4), inner)
    ),
    max_leaves=25,
)


@given(
    VALUE
    | st.builds(lambda v: {"GoogleCloudPlatform": {"Accounts": v}}, VALUE)
    | st.builds(lambda v: with_account({**SERVICE, "Server": v}), VALUE)
    | st.builds(lambda v: with_account(v) | {"DicomWeb": {"Servers": v}}, VALUE)
)
def test_nothing_in_a_configuration_raises(configuration):
    settings = read(configuration)
    assert all(str(problem) for problem in settings.problems)
