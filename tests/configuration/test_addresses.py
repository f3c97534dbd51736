"""Addresses that are right, and those that would send data elsewhere."""

from __future__ import annotations

import pytest

from orthanc_gcp.configuration import read
from tests.support.configurations import SERVICE, configured


@pytest.mark.parametrize(
    ("url", "used"),
    [
        ("https://healthcare.googleapis.com/v1beta1/", "https://healthcare.googleapis.com/v1beta1"),
        ("https://healthcare.googleapis.com/v1", "https://healthcare.googleapis.com/v1"),
        ("HTTPS://Healthcare.GoogleAPIs.com/v1/", "https://healthcare.googleapis.com/v1"),
        (
            "https://us-central1-healthcare.googleapis.com/v1/",
            "https://us-central1-healthcare.googleapis.com/v1",
        ),
        (
            "https://healthcare.europe-west2.rep.googleapis.com/v1/",
            "https://healthcare.europe-west2.rep.googleapis.com/v1",
        ),
        ("https://gateway.example/healthcare/v1/", "https://gateway.example/healthcare/v1"),
        ("https://gateway.example/v2/", "https://gateway.example/v2"),
        ("https://gateway:8443/v1alpha2/", "https://gateway:8443/v1alpha2"),
        ("https://my_proxy/v1/", "https://my_proxy/v1"),
        ("http://127.0.0.1:8085/v1beta1/", "http://127.0.0.1:8085/v1beta1"),
        ("http://[::1]:8085/v1beta1/", "http://[::1]:8085/v1beta1"),
        ("https://xn--mnchen-3ya.example/v1/", "https://xn--mnchen-3ya.example/v1"),
    ],
)
def test_a_base_url_that_is_right(url, used):
    settings = read(configured("GoogleCloudPlatform.BaseUrl", url))
    assert settings.problems == ()
    (account,) = settings.accounts
    store = "/projects/osimis-test/locations/europe-west2/datasets/test/dicomStores/dicom/dicomWeb/"
    assert settings.dicomweb_url(account) == used + store


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("healthcare.googleapis.com", "begins with https://"),
        ("healthcare.googleapis.com/v1/", "begins with https://"),
        ("https//healthcare.googleapis.com/v1/", "begins with https://"),
        ("https:/healthcare.googleapis.com/v1/", "begins with https://"),
        ("https:healthcare.googleapis.com/v1/", "begins with https://"),
        ("ftp://healthcare.googleapis.com/v1/", "begins with https://"),
        ("https://", "begins with https://"),
        ("https:///v1/", "begins with https://"),
        ("https://host:0/v1/", "begins with https://"),
        ("https://host:99999/v1/", "begins with https://"),
        ("https://host:port/v1/", "begins with https://"),
        ("https://[::1/v1/", "begins with https://"),
        ("https://.example/v1/", "begins with https://"),
        ("https://a%2eb/v1/", "begins with https://"),
        ("https://healthcare.googleapis.com/v1/ ", "without blanks"),
        (" https://healthcare.googleapis.com/v1/", "without blanks"),
        ("https://healthcare.googleapis.com/v1/\n", "without blanks"),
        ("https://healthcare.goo\u200bgleapis.com/v1/", "without blanks"),
        ("https://healthcare.googleapis.com\\@evil.example/v1/", "without blanks and backslashes"),
        ("https://münchen.example/v1/", "xn--"),
        ("https://healthc\u0430re.googleapis.com/v1/", "xn--"),  # a Cyrillic letter
        ("https://user:pw-1@healthcare.googleapis.com/v1/", "without user and password"),
        ("https://@healthcare.googleapis.com/v1/", "without user and password"),
        ("https://healthcare.googleapis.com/v1/?key=pw-1", "without a query"),
        ("https://healthcare.googleapis.com/v1/?", "without a query"),
        ("https://healthcare.googleapis.com/v1/#", "without a query"),
        ("https://healthcare.googleapis.com/", "such as https://healthcare.googleapis.com/v1/"),
        ("https://healthcare.googleapis.com", "the version of the API at its end"),
        ("https://gateway.example/healthcare/", "the version of the API at its end"),
        ("https://gateway.example/V1/", "the version of the API at its end"),
        ("https://gateway.example/v1/x/", "the version of the API at its end"),
        ("https://gateway.example//v1/", "a path of letters"),
        ("https://gateway.example/x/../v1/", "a path of letters"),
        ("https://gateway.example/%2e%2e/v1/", "a path of letters"),
        ("https://healthcare.googleapis.com/v2/", "healthcare.googleapis.com/v1beta1/"),
        ("https://healthcare.googleapis.com/v1beta2/", "healthcare.googleapis.com/v1beta1/"),
        ("https://healthcare.googleapis.com/healthcare/v1/", "healthcare.googleapis.com/v1beta1/"),
        ("http://healthcare.googleapis.com/v1/", "https://healthcare.googleapis.com/v1/"),
        ("https://storage.googleapis.com/v1/", "https://healthcare.googleapis.com/v1/"),
        ("https://googleapis.com/v1/", "https://healthcare.googleapis.com/v1/"),
        ("https://healthcare.googleapi.com/v1/", "a host that ends in googleapis.com"),
        ("https://healthcare.goggleapis.com/v1/", "a host that ends in googleapis.com"),
        (
            "https://healthcare.googleapis.com/v1beta1/projects/p/locations/l/datasets/d"
            "/dicomStores/s/dicomWeb",
            "only what stands before projects/, such as https://healthcare.googleapis.com/v1beta1/",
        ),
        (
            "https://gateway.example/x/v1/projects/p/locations/l/datasets/d/dicomStores/s",
            "such as https://gateway.example/x/v1/: the account names the store",
        ),
        ("https://gateway.example/dicomWeb/", "such as https://gateway.example/v1/:"),
    ],
)
def test_a_base_url_that_would_send_images_elsewhere(url, expected):
    settings = read(configured("GoogleCloudPlatform.BaseUrl", url))
    (problem,) = settings.problems
    assert problem.error
    assert expected in str(problem)
    assert str(problem).endswith("; no account is used")
    assert "pw-1" not in str(problem)
    assert settings.accounts == ()
    assert list(settings.rejected) == ["a"]


@pytest.mark.parametrize("host", ["gateway.example", "10.0.0.1", "[2001:db8::1]"])
def test_unencrypted_addresses_of_others_are_warnings(host):
    settings = read(configured("GoogleCloudPlatform.BaseUrl", f"http://{host}/v1/"))
    (problem,) = settings.problems
    assert not problem.error
    assert "unencrypted" in str(problem)
    accounts = {"a": {**SERVICE, "TokenUri": f"http://{host}/token"}}
    (problem,) = read({"GoogleCloudPlatform": {"Accounts": accounts}}).problems
    assert (problem.path, problem.error) == ("GoogleCloudPlatform.Accounts.a.TokenUri", False)


def test_the_address_for_an_upsert_differs_in_the_version_alone():
    settings = read(configured("GoogleCloudPlatform.BaseUrl", "https://g.example/v1/x/v1/"))
    url = settings.dicomweb_url(settings.accounts[0], "v1beta1")
    assert url.startswith("https://g.example/v1/x/v1beta1/projects/")


@pytest.mark.parametrize("option", ["TokenUri", "IamCredentialsUri"])
@pytest.mark.parametrize(
    "url",
    [
        "oauth2.googleapis.com/token",
        "https://user:pw-1@oauth2.googleapis.com/token",
        "https://oauth2.googleapis.com/token#x",
        "https://oauth2.goggleapis.com/token",
        "https://oauth2.googleapis.com/token ",
    ],
)
def test_an_address_that_would_be_told_secrets(option, url):
    settings = read({"GoogleCloudPlatform": {"Accounts": {"a": {**SERVICE, option: url}}}})
    (problem,) = settings.rejected["a"]
    assert problem.path.endswith(option)
    assert "pw-1" not in str(problem)


@pytest.mark.parametrize(
    ("database", "right"),
    [
        ("postgresql://user:pw-1@host/custody", True),
        ("postgres://host:5432/custody?sslmode=require", True),
        ("postgresql:///custody?host=/var/run/postgresql", True),
        ("postgresql://user:p@ss@host/custody", True),
        ("postgresql://user:pä ß@one:5432,two:5432/custody", True),
        ("sqlite:////var/lib/ledger.sqlite", True),
        ("postgresql://user:pw-1/x@host/custody", False),
        ("postgresql://user:pw-1#x@host/custody", False),
        ("postgresql://user:12/pw-1@host/custody", False),
        ("postgresql://host", False),
        ("Postgresql://host/custody", False),
        ("sqlite:///ledger.sqlite", False),
        ("sqlite://", False),
        ("sqlite:///:memory:", False),
        ("sqlite:ledger", False),
    ],
)
def test_a_database(database, right):
    settings = read(configured("GoogleCloudPlatform.Database", database))
    assert settings.problems == settings.sending_problems
    assert (settings.problems == ()) == right
    assert "pw-1" not in str(settings.problems)
    assert len(settings.accounts) == 1


@pytest.mark.parametrize(
    ("proxy", "right"),
    [
        ("", True),
        ("proxy:3128", True),
        ("http://proxy:3128/", True),
        ("https://user:pw-1@proxy:3128", True),
        ("user:p@ss wörd@proxy:3128", True),
        ("http://user:pw-1/x@proxy:3128", False),
        ("http://user:12/pw-1@proxy:3128", False),
        ("http://user:pw-1?x@proxy:3128", False),
        ("http://user:pw-1#x@proxy:3128", False),
        ("http://user:pw-1:proxy:3128", False),
        ("http://proxy:3128/path", False),
        ("proxy:3128 ", False),
        ("proxy:port", False),
    ],
)
def test_a_proxy(proxy, right):
    settings = read(configured("HttpProxy", proxy))
    assert (settings.problems == ()) == right
    assert "pw-1" not in str(settings.problems)
    assert (settings.accounts == ()) == (not right)


@pytest.mark.parametrize(
    ("webhook", "right"),
    [
        ("https://hooks.example/x?key=k", True),
        ("https://hooks.example/webhook/id@tenant/x", True),
        ("https://user:pw-1@hooks.example/", False),
        ("https://user:pw-1/@hooks.example/", False),
        ("https://hooks.example/#x", False),
        ("https:hooks.example/", False),
    ],
)
def test_a_webhook(webhook, right):
    settings = read(configured("GoogleCloudPlatform.Webhook", webhook))
    assert settings.section.webhook == (webhook if right else "")
    assert (settings.problems == ()) == right
    assert "pw-1" not in str(settings.problems)
