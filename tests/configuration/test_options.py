"""What a wrong value does: where data go, or who may see them, nothing falls back to a default."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from orthanc_gcp.cli import app
from orthanc_gcp.configuration import read
from orthanc_gcp.configuration.option_types import effect_of, option_names
from orthanc_gcp.configuration.options import (
    Account,
    BackfillOptions,
    DicomWeb,
    GatewayOptions,
    Globals,
    MailOptions,
    PythonPlugin,
    Section,
    SendRule,
)
from orthanc_gcp.configuration.problems import Effect
from tests.support.configurations import SERVICE, configured
from tests.support.listing import assert_same

REJECTED = "no account is used"
SEPARATE = "no account is used, and no webhook, and no e-mail"
NOTHING = "nothing is sent"
SILENT = "nobody is told of alarms"
DEFAULT = "the default is used"
SHUT = "the gateway does not start"
NO_FLAG = {"a": {"AET": "A", "Host": "h", "Port": 1, "AllowStore": "yes"}}

PACKAGE = Path(__file__).parents[2] / "src" / "orthanc_gcp"
USES = "".join(file.read_text() for file in PACKAGE.rglob("*.py") if "emulator" not in file.parts)

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
    ("GoogleCloudPlatform.DailySummaryHour", ["7", 24, -1, None], DEFAULT),
    ("GoogleCloudPlatform.CompareEverySeconds", ["900", 0, None], DEFAULT),
    ("GoogleCloudPlatform.ProtectUnsent", ["true", 1, None], DEFAULT),
    ("GoogleCloudPlatform.ProtectUpToPercent", ["80", 0, 101, None], DEFAULT),
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
    ("LimitFindResults", ["2", -1, None], SHUT),
    ("LimitFindInstances", ["2", -1, None], SHUT),
    ("OverwriteInstances", ["yes", 1, None], DEFAULT),
    ("IngestTranscoding", [5, None], DEFAULT),
    ("DicomCheckCalledAet", ["true", 1, None], SHUT),
    ("DicomCheckModalityHost", ["true", 1, None], SHUT),
    ("DicomAlwaysAllowEcho", ["true", 1, None], SHUT),
    ("DicomAlwaysAllowFind", ["true", 1, None], SHUT),
    ("DicomAlwaysAllowStore", ["true", 1, None], SHUT),
    ("DicomAlwaysAllowGet", ["true", 1, None], SHUT),
    ("DicomAlwaysAllowMove", ["true", 1, None], SHUT),
    ("DicomAet", ["", "A" * 17, 5, None], SHUT),
    ("DicomScuTimeout", [-1, 90_000, "10", None], SHUT),
    ("StrictAetComparison", ["true", 1, None], SHUT),
    ("DicomModalities", [5, None, [], {"a": ["A", "h", "x"]}, NO_FLAG], SHUT),
    ("DicomScpTimeout", ["30", -1, None], SHUT),
    ("MaximumPduLength", ["16384", 0, None], SHUT),
    ("DicomTlsEnabled", ["true", 1, None], SHUT),
    ("DicomTlsCertificate", [5, None], SHUT),
    ("DicomTlsPrivateKey", [5, None], SHUT),
    ("DicomTlsTrustedCertificates", [5, None], SHUT),
    ("DicomTlsRemoteCertificateRequired", ["true", 1, None], SHUT),
    ("DicomWeb.Enable", ["true", 1, None], REJECTED),
    ("DicomWeb.Root", [5, None], REJECTED),
    ("DicomWeb.ServersInDatabase", ["true", 1, None], REJECTED),
    ("DicomWeb.Servers", [5, None, []], REJECTED),
]


@pytest.mark.parametrize(
    ("path", "value", "effect"),
    [(path, value, effect) for path, values, effect in DECISIONS for value in values],
)
def test_what_a_wrong_value_does(path, value, effect):
    configuration = configured(path, value)
    if effect == SHUT:
        assert read(configuration).problems == (), "whoever has no gateway need not know"
        configuration["GoogleCloudPlatform"]["Gateway"] = {"Aets": {"G": "a"}}
    settings = read(configuration)
    (problem,) = settings.problems
    assert problem.error
    assert settings.gateway_problems == ((problem,) if effect == SHUT else ())
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
    assert_same(
        decided,
        shared | {f"DicomWeb.{name}" for name in (*option_names(DicomWeb), "Servers")},
        page="tests/configuration/test_options.py",
        place="DECISIONS, with wrong values and what follows from them",
        source="configuration/options.py",
    )


@pytest.mark.parametrize(
    "model",
    [
        *(Account, BackfillOptions, DicomWeb, GatewayOptions, Globals, MailOptions),
        *(PythonPlugin, Section, SendRule),
    ],
)
def test_every_option_is_used(model):
    for one in fields(model):
        used = re.search(rf"\.{one.name}\b|\"{one.name}\"", USES)
        assert used, f"nothing uses `{one.name}` of configuration/options.py: use it, or remove it"


def test_what_is_not_decided_rejects():
    """An option that somebody adds does not fall back to its default unless it says so."""
    harmless = {
        name
        for model in (Section, Globals, DicomWeb)
        for name in option_names(model)
        if effect_of(model, name) is Effect.DEFAULT
    }
    decided = {
        path.removeprefix("GoogleCloudPlatform.")
        for path, _, effect in DECISIONS
        if effect == DEFAULT
    }
    assert_same(
        decided,
        harmless,
        page="tests/configuration/test_options.py",
        place="DECISIONS, as what falls back to its default",
        source="wrong=Effect.DEFAULT in configuration/options.py",
    )


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


# -- Other addresses ------------------------------------------------------------------------------


# -- What stands in the wrong place ---------------------------------------------------------------


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
