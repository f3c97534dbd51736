"""Which option an address comes from."""

from __future__ import annotations

import pytest

from orthanc_gcp.auth.credentials.documents import inline
from orthanc_gcp.configuration import read
from orthanc_gcp.doctor.address_options import address_options, is_google, option_of
from tests.support.keys import STORE


def options(document=None, section=None, **account):
    accounts = {"a": {**STORE, "ServiceAccountFile": "key.json", **account}}
    settings = read({"GoogleCloudPlatform": {"Accounts": accounts, **(section or {})}})
    return list(address_options(settings.accounts[0], settings, document))


def test_the_address_of_the_api_is_always_an_option():
    (option,) = options()
    assert option.name == "BaseUrl"
    assert option.hint == "", "it is Google's already"
    (option,) = options(section={"BaseUrl": "https://gateway.example/v1/"})
    assert option.hint == " (Google's is https://healthcare.googleapis.com/v1beta1/)"


def test_the_addresses_of_the_account_and_of_its_credential():
    document = inline(
        {
            "type": "external_account",
            "token_url": "https://sts.example/v1/token",
            "credential_source": {"url": "http://169.254.169.254/x", "file": "/var/token"},
        },
        "CredentialsFile",
    )
    found = options(
        document, TokenUri="https://t.example/", IamCredentialsUri="https://iam.example/"
    )
    assert [option.name for option in found] == [
        "BaseUrl",
        "TokenUri",
        "IamCredentialsUri",
        "token_url in CredentialsFile",
        "credential_source.url in CredentialsFile",
    ]
    assert found[3].hint == " (Google's is https://sts.googleapis.com/v1/token)"
    assert found[4].hint == ""


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://t.example/token", "TokenUri"),
        ("https://T.example/token?x=1", "TokenUri"),
        ("https://user:pw@t.example/other", "TokenUri"),
        ("https://healthcare.googleapis.com/v1beta1/projects/p", "BaseUrl"),
        ("https://healthcare.googleapis.com/", "BaseUrl"),
        ("https://elsewhere.example/", None),
    ],
)
def test_an_address_is_that_of_the_option_with_its_host(url, name):
    found = option_of(url, options(TokenUri="https://t.example/token"))
    assert (found and found.name) == name


def test_of_two_options_with_one_host_the_one_that_it_begins_with():
    known = options(
        section={"BaseUrl": "https://g.example/v1/"}, TokenUri="https://g.example/token"
    )
    assert option_of("https://g.example/token", known).name == "TokenUri"
    assert option_of("https://g.example/v1/projects", known).name == "BaseUrl"


@pytest.mark.parametrize(
    ("url", "google"),
    [
        ("https://healthcare.googleapis.com/v1/", True),
        ("https://oauth2.googleapis.com:443/token", True),
        ("https://googleapis.com/", True),
        ("https://evilgoogleapis.com/", False),
        ("https://googleapis.com.example/", False),
        ("not an address", False),
    ],
)
def test_the_hosts_of_google(url, google):
    assert is_google(url) == google
