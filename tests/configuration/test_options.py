"""What a wrong value does: where data go, or who may see them, nothing falls back to a default."""

from __future__ import annotations

import base64
import json

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from orthanc_gcp.cli import app
from orthanc_gcp.configuration import read
from orthanc_gcp.configuration.option_types import effect_of, option_names
from orthanc_gcp.configuration.options import Account, DicomWeb, Globals, Section
from orthanc_gcp.configuration.problems import Effect, meant
from tests.support.keys import STORE

SERVICE = {**STORE, "ServiceAccountFile": "key.json"}
REJECTED = "no account is used"
SEPARATE = "no account is used, and no webhook"
NOTHING = "nothing is sent"
SILENT = "nobody is told of alarms"
DEFAULT = "the default is used"

KEY = base64.b64encode(b"k" * 32).decode()

# The decision for each option that all accounts share, with values that are wrong.
DECISIONS = [
    ("GoogleCloudPlatform.BaseUrl", [7, None, "", [], True], REJECTED),
    ("GoogleCloudPlatform.Timeout", ["60", -1, 1.5, None, True], DEFAULT),
    ("GoogleCloudPlatform.RefreshInterval", ["60", -1, None], DEFAULT),
    ("GoogleCloudPlatform.Database", [5, None, "", "mysql://h/d", "ledger.db"], NOTHING),
    ("GoogleCloudPlatform.Webhook", [5, None, "", "hooks.example", "ftp://x/"], SILENT),
    (
        "GoogleCloudPlatform.WebhookSecret",
        [5, None, "", "whsec_", "secret", KEY, f"whsec_{KEY[:-1]}", f"whsec_{KEY[:28]}", "${KEY}"],
        SILENT,
    ),
    ("GoogleCloudPlatform.WebhookBacklogAgeSeconds", ["900", 0, None], DEFAULT),
    ("StorageDirectory", [5, None, "", []], NOTHING),
    ("HttpsCACertificates", [5, None, False], SEPARATE),
    ("HttpsVerifyPeers", ["false", 0, None], SEPARATE),
    ("HttpProxy", [8080, None, "socks5://h:1", ["h:1"]], SEPARATE),
    ("HttpVerbose", ["true", 1, None], DEFAULT),
    ("HttpServerEnabled", ["true", 1, None], NOTHING),
    ("HttpPort", ["8042", -1, 65536, 80.5, None], NOTHING),
    ("SslEnabled", ["true", 1, None], NOTHING),
    ("SslCertificate", [5, None, ""], NOTHING),
    ("Plugins", ["/usr/share", 5, None], DEFAULT),
    ("PythonScript", [5, None, []], DEFAULT),
    ("DicomServerEnabled", ["true", 1, None], DEFAULT),
    ("DicomPort", ["4242", -1, 65536, None], DEFAULT),
    ("RemoteAccessAllowed", ["true", 1, None], REJECTED),
    ("AuthenticationEnabled", ["false", 0], REJECTED),
    ("MaximumStorageSize", ["0", -1, None], DEFAULT),
    ("MaximumPatientCount", ["0", -1, None], DEFAULT),
    ("MaximumStorageMode", [5, None], DEFAULT),
    ("DicomWeb.Enable", ["true", 1, None], REJECTED),
    ("DicomWeb.Root", [5, None], REJECTED),
    ("DicomWeb.ServersInDatabase", ["true", 1, None], REJECTED),
    ("DicomWeb.Servers", [5, None, []], REJECTED),
]


def configured(path, value):
    """A configuration with an account, a rule and a webhook, and one option in addition."""
    section = {
        "Accounts": {"a": SERVICE},
        "Send": [{"To": "a"}],
        "Webhook": "https://hooks.example/x",
    }
    configuration = {"GoogleCloudPlatform": section, "DicomWeb": {}}
    *parents, name = path.split(".")
    place = configuration
    for parent in parents:
        place = place[parent]
    place[name] = value
    return configuration


@pytest.mark.parametrize(
    ("path", "value", "effect"),
    [(path, value, effect) for path, values, effect in DECISIONS for value in values],
)
def test_what_a_wrong_value_does(path, value, effect):
    settings = read(configured(path, value))
    (problem,) = settings.problems
    assert problem.error
    assert problem.path == path
    assert str(problem).endswith(f"; {effect}")
    assert (settings.accounts == ()) == (effect in (REJECTED, SEPARATE))
    assert settings.rejected == ({"a": (problem,)} if effect in (REJECTED, SEPARATE) else {})
    assert settings.sending_problems == ((problem,) if effect == NOTHING else ())
    assert (settings.section.webhook == "") == (effect in (SILENT, SEPARATE))
    assert [rule.to for rule in settings.rules] == ["a"], "what is for the account waits"


def test_every_shared_option_is_decided():
    decided = {path.removeprefix("GoogleCloudPlatform.") for path, _, _ in DECISIONS}
    shared = {*option_names(Section), *option_names(Globals)}
    assert decided == shared | {f"DicomWeb.{name}" for name in (*option_names(DicomWeb), "Servers")}


def test_what_is_not_decided_rejects():
    """An option that somebody adds does not fall back to its default unless it says so."""
    harmless = {
        name
        for model in (Section, Globals, DicomWeb)
        for name in option_names(model)
        if effect_of(model, name) is Effect.DEFAULT
    }
    assert harmless == {
        *("Timeout", "RefreshInterval", "WebhookBacklogAgeSeconds", "HttpVerbose"),
        *("Plugins", "PythonScript", "DicomServerEnabled", "DicomPort"),
        *("MaximumStorageSize", "MaximumPatientCount", "MaximumStorageMode"),
    }


@pytest.mark.parametrize("value", [None, 5.5, [[]]], ids=str)
@pytest.mark.parametrize("name", option_names(Account))
def test_a_wrong_option_of_an_account_rejects_this_account_alone(name, value):
    accounts = {"a": {**SERVICE, name: value}, "b": SERVICE}
    settings = read({"GoogleCloudPlatform": {"Accounts": accounts}})
    assert [account.name for account in settings.accounts] == ["b"]
    assert all(problem.error for problem in settings.rejected["a"])
    assert settings.rejected["a"][0].path.startswith(f"GoogleCloudPlatform.Accounts.a.{name}")


@pytest.mark.parametrize("part", ["Project", "Location", "Dataset", "DicomStore", "QuotaProject"])
@pytest.mark.parametrize(
    "value", [".", "..", "a/b", "a b", "", "pr\u043eject", "a?b", "a#b", "%2e%2e"]
)
def test_a_name_that_would_lead_to_another_store(part, value):
    settings = read({"GoogleCloudPlatform": {"Accounts": {"a": {**SERVICE, part: value}}}})
    assert list(settings.rejected) == ["a"]


@pytest.mark.parametrize(
    ("key", "effect"),
    [
        ("BaseURL", REJECTED),
        ("Baseurl", REJECTED),
        ("baseUrl", REJECTED),
        ("BaseUri", REJECTED),
        ("Databse", NOTHING),
        ("Webhok", SILENT),
        ("WebhookSecrets", SILENT),
        ("Sends", "nothing is sent by it"),
        ("send", "nothing is sent by it"),
        ("acounts", None),
        ("BackFill", None),
    ],
)
def test_a_misspelt_option_of_the_section_is_as_wrong_as_its_value(key, effect):
    settings = read(configured(f"GoogleCloudPlatform.{key}", []))
    (problem,) = settings.problems
    assert problem.error
    assert "did you mean" in str(problem)
    assert problem.effect.value == (effect or "")
    assert (settings.accounts == ()) == (effect == REJECTED)
    assert (settings.section.webhook == "") == (effect == SILENT)


# -- BaseUrl --------------------------------------------------------------------------------------


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


# -- Other addresses ------------------------------------------------------------------------------


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


# -- What stands in the wrong place ---------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    ["GoogleCloudPlatforms", "googleCloudPlatform", "GoogleCloudplatform", "GoogelCloudPlatform"],
)
def test_a_misspelt_section(key):
    section = {"Accounts": {"a": SERVICE}}
    (problem,) = read({key: section}).problems
    assert problem.error
    assert str(problem) == f"{key}: no account is read from here, did you mean GoogleCloudPlatform?"
    (problem,) = read({key: section, "GoogleCloudPlatform": section}).problems
    assert not problem.error, "it may have been put aside"


def test_accounts_in_the_section_itself():
    settings = read({"GoogleCloudPlatform": {"my-google": SERVICE, "Send": [{"To": "my-google"}]}})
    (problem,) = settings.problems
    assert problem.error
    assert str(problem) == (
        "GoogleCloudPlatform.my-google: an account stands here, expected it in "
        "GoogleCloudPlatform.Accounts"
    )
    assert settings.rejected == {"my-google": (problem,)}


@pytest.mark.parametrize(
    "content",
    [
        {"type": "service_account", "private_key": "-----BEGIN PRIVATE KEY-----pw-1"},
        {"type": "authorized_user", "client_secret": "pw-1", "refresh_token": "pw-1"},
        {"installed": {"client_id": "i", "client_secret": "pw-1"}},
        {"web": {"client_id": "i", "client_secret": "pw-1"}},
    ],
)
def test_a_credential_file_among_the_configuration(content):
    settings = read({**configured("HttpVerbose", False), **content})
    assert len(settings.accounts) == 1
    assert settings.problems
    for problem in settings.problems:
        assert problem.error
        assert "/etc/orthanc-gcp/" in str(problem)
        assert "pw-1" not in str(problem)


# -- Secrets --------------------------------------------------------------------------------------

SECRET = "s3cr3t-Of-The-Hospital/+=-0123456789-abcdefghij"
ANYWHERE = st.recursive(
    st.just(SECRET),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=2)
        | st.dictionaries(st.sampled_from(["a", "To"]), inner, min_size=1)
    ),
    max_leaves=3,
)
NAMES = sorted(
    {
        *(name for model in (Account, Section, Globals, DicomWeb) for name in option_names(model)),
        *("Send", "Backfill", "Accounts", "Servers", "DicomWeb", "GoogleCloudPlatform"),
        *("AuthorizedUserClientSecrt", "ServiceAccountJsn", "Databse", "Pasword", "private_key"),
    }
)


@given(
    st.dictionaries(st.sampled_from(NAMES), ANYWHERE, max_size=4),
    st.dictionaries(st.sampled_from(NAMES), ANYWHERE, max_size=4),
    st.dictionaries(st.sampled_from(NAMES), ANYWHERE, max_size=4),
)
def test_a_secret_is_shown_nowhere(whole, section, account):
    section = {"Accounts": {"a": {**SERVICE, **account}}, **section}
    settings = read({"GoogleCloudPlatform": section, **whole})
    assert SECRET not in " ".join(map(str, settings.problems))


@pytest.mark.parametrize("name", ["line\nbreak", "x" * 500])
def test_a_message_is_one_short_line_whatever_the_names(name):
    accounts = {name: {**SERVICE, name: 1}}
    for problem in read({"GoogleCloudPlatform": {"Accounts": accounts, name: 1}}).problems:
        assert str(problem).isprintable()
        assert len(str(problem)) < 400


@pytest.mark.parametrize(
    ("key", "known", "found"),
    [
        ("BASEURL", "BaseUrl", True),
        ("BaseUr", "BaseUrl", True),
        ("BsaeUrl", "BaseUrl", True),
        ("Url", "BaseUrl", False),
        ("ProjectId", "Project", False),
        ("GoogleCloudPlatformOld", "GoogleCloudPlatform", False),
        ("GoogleCloudPlatfrm", "GoogleCloudPlatform", True),
    ],
)
def test_a_slip_of_the_pen(key, known, found):
    assert (meant(key, [known]) == known) == found


# -- Where it is told -----------------------------------------------------------------------------


def test_check_tells_of_mistakes_that_are_no_account_s(tmp_path):
    configuration = configured("GoogleCloudPlatform.Webhook", "hush")
    configuration["GoogleCloudPlatform"]["Send"] = [{"To": "a", "Tags": {"patientid": "hush"}}]
    configuration["GoogleCloudPlatform"]["Accounts"] = {"a": {**SERVICE, "Verify": "All"}}
    configuration["private_key"] = "hush"
    file = tmp_path / "orthanc.json"
    file.write_text(json.dumps(configuration))
    done = CliRunner().invoke(app, ["check", str(file), "--json"])
    assert done.exit_code == 1
    told = json.loads(done.output)
    assert not told["Passed"]
    (options,) = (line for line in told["Orthanc"] if line["Check"] == "options")
    assert [error.partition(":")[0] for error in options["Cause"].split("; ")[::2]] == [
        "private_key",
        "GoogleCloudPlatform.Webhook",
    ]
    (rules,) = (line for line in told["Custody"] if line["Check"] == "rules")
    assert rules["Cause"].startswith("GoogleCloudPlatform.Send[0].Tags")
    assert "Verify" in told["Accounts"]["a"][0]["Cause"]
    done = CliRunner().invoke(app, ["check", str(file)], env={"COLUMNS": "500"})
    assert done.exit_code == 1
    assert "GoogleCloudPlatform.Webhook: found a string" in done.output
    assert "hush" not in done.output
