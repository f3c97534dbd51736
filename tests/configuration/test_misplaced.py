"""What stands in the wrong place of a configuration, or under nearly the right name."""

from __future__ import annotations

import pytest

from orthanc_gcp.configuration import read
from tests.support.configurations import SERVICE, configured


@pytest.mark.parametrize(
    "key",
    ["GoogleCloudPlatforms", "googleCloudPlatform", "GoogleCloudplatform", "GoogelCloudPlatform"],
)
def test_a_misspelt_section(key):
    section = {"Accounts": {"a": SERVICE}}
    settings = read({key: section})
    (problem,) = settings.rule_problems
    assert settings.problems == (problem,)
    assert problem.error
    assert str(problem) == (
        f"{key}: no account is read from here, did you mean GoogleCloudPlatform?; "
        "nothing is sent by it"
    )
    assert settings.protects
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
