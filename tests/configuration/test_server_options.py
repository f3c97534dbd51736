"""The user's own fields of a server definition."""

from __future__ import annotations

import pytest

from orthanc_gcp.configuration import read
from orthanc_gcp.configuration.problems import Problem
from orthanc_gcp.configuration.server_options import server_options
from tests.support.configurations import PATH, SERVICE, texts, with_account


def test_the_users_server_options():
    """DicomWeb.Servers first, then the account's own Server object; headers are merged."""
    own = {"Timeout": 600, "HttpHeaders": {"X-B": "2", "authorization": "mine"}, "Url": "http://x"}
    configuration = with_account({**SERVICE, "Server": own})
    configuration["DicomWeb"] = {
        "Servers": {
            "my-google": {
                "Url": "http://old/",
                "Timeout": 10,
                "ChunkedTransfers": False,
                "HttpHeaders": {"X-A": "1", "X-B": "1"},
            }
        }
    }
    settings = read(configuration)
    assert settings.accounts[0].server == {
        "Timeout": 600,
        "ChunkedTransfers": False,
        "HttpHeaders": {"X-A": "1", "X-B": "2"},
    }
    assert texts(settings) == [
        f"{PATH}.Server.Url: ignored: the address follows from GoogleCloudPlatform.BaseUrl and the "
        "store",
        f"{PATH}.Server.HttpHeaders.Authorization: ignored: this header carries the account's "
        "access token",
    ]


def test_the_short_form_of_a_dicomweb_server():
    configuration = with_account(SERVICE)
    configuration["DicomWeb"] = {"Servers": {"my-google": ["http://x/", "user", "password"]}}
    server = read(configuration).accounts[0].server
    assert server == {"Username": "user", "Password": "password", "HttpHeaders": {}}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("http://x/", "S: found a string, expected an object"),
        ({"Timeout": "5"}, "S.Timeout: found '5', expected a whole number of seconds"),
        ({"Timeout": True}, "S.Timeout: found True, expected a whole number of seconds"),
        ({"Timeout": 2**31}, "S.Timeout: found 2147483648, expected a whole number of seconds"),
        (
            {"Password": ["pw-1"]},
            "S.Password: found a list, expected a string, a boolean or",
        ),
        (
            {"HttpHeaders": {"X": 1}},
            "S.HttpHeaders: found an object, expected an object of",
        ),
        ({"HttpHeaders": {"X\r\nY": "1"}}, "S.HttpHeaders: found an object, expected"),
        ({"HttpHeaders": ["X: 1"]}, "S.HttpHeaders: found a list, expected"),
    ],
)
def test_a_field_that_the_dicomweb_plugin_would_not_take(options, message):
    problems: list[Problem] = []
    assert server_options(options, "S", problems) == {}
    assert [str(problem).startswith(message) for problem in problems] == [True]
    assert "pw-1" not in str(problems)


def test_what_is_kept():
    problems: list[Problem] = []
    options = {"Url": "http://x/", "HasDelete": "0", "N": 3, "HttpHeaders": {"AUTHORIZATION": "x"}}
    assert server_options(options, "DicomWeb.Servers.a", problems) == {
        "HasDelete": "0",
        "N": 3,
        "HttpHeaders": {},
    }
    assert [(one.path, one.error) for one in problems] == [
        ("DicomWeb.Servers.a.HttpHeaders.Authorization", False)
    ]
