"""The server definition while Orthanc runs: kept right, whatever somebody does to it."""

from __future__ import annotations

import sqlite3
from urllib.parse import quote

import pytest

from tests.support.keys import user_account
from tests.support.orthanc import DICOMWEB, PYTHON, wait_until
from tests.support.token_server import token

HEADERS = {"X-Site": "north"}
OPTIONS = {"Timeout": 7, "ChunkedTransfers": False, "HttpHeaders": HEADERS, "HasDelete": "0"}


def settings(token_server, base="http://127.0.0.1:1/v1", interval=1, **account):
    return {
        "GoogleCloudPlatform": {
            "BaseUrl": base,
            "RefreshInterval": interval,
            "Accounts": {"my-google": user_account(token_server.url, **account)},
        }
    }


def test_it_is_restored(orthanc, token_server):
    instance = orthanc(settings(token_server, Server=OPTIONS))
    instance.wait_for_servers("my-google")
    right = instance.servers()["my-google"]
    assert right["Timeout"] == 7
    assert right["ChunkedTransfers"] == "0"
    assert sorted(right["HttpHeaders"]) == ["Authorization", "X-Site"]
    path = "/dicom-web/servers/my-google"
    same_to_the_eye = {
        **{key: right[key] for key in ("Url", "Timeout", "HasDelete", "ChunkedTransfers")},
        "HttpHeaders": {"Authorization": "Bearer somebody-elses", "X-Site": "south"},
    }
    for change in (
        lambda: instance.json("DELETE", path),
        lambda: instance.json("PUT", path, {"Url": "http://elsewhere.example/"}),
        lambda: instance.json("PUT", path, {**right, "HttpHeaders": {}}),
        lambda: instance.json("PUT", path, {**right, "HttpHeaders": HEADERS, "HasDelete": "1"}),
        lambda: instance.json("PUT", path, same_to_the_eye),
    ):
        change()
        assert instance.servers().get("my-google") != right
        wait_until(lambda: instance.servers().get("my-google") == right, 10)
    assert "its DICOMweb server was changed, restoring" in instance.log
    assert len(token_server.requests) == 1, "a restored definition needs no new token"


def test_options_survive_every_refresh(orthanc, token_server):
    token_server.answer = token(lifetime=5)
    configuration = settings(token_server, interval=60)
    configuration["DicomWeb"] = {
        "Servers": {"my-google": {"Url": "http://old/", "Timeout": 7, "HttpHeaders": HEADERS}}
    }
    instance = orthanc(configuration)
    instance.wait_for_servers("my-google")
    wait_until(lambda: len(token_server.requests) >= 3)
    right = instance.servers()["my-google"]
    assert right["Url"].startswith("http://127.0.0.1:1/v1/projects/")
    assert right["Timeout"] == 7
    assert sorted(right["HttpHeaders"]) == ["Authorization", "X-Site"]


def test_servers_in_the_database(orthanc, token_server):
    """The token is in the database while Orthanc runs, and not after it stopped."""
    token_server.answer = token("ya29.needle")
    configuration = settings(token_server)
    configuration["DicomWeb"] = {"ServersInDatabase": True}
    instance = orthanc(configuration)
    instance.wait_for_servers("my-google")
    assert "DicomWeb.ServersInDatabase: access tokens will lie unencrypted" in instance.log
    instance.stop()
    with sqlite3.connect(instance.folder / "storage" / "index") as database:
        rows = database.execute("SELECT value FROM GlobalProperties").fetchall()
    assert not any("needle" in str(value) for (value,) in rows)


@pytest.mark.parametrize(
    ("plugins", "dicomweb", "message"),
    [
        ((PYTHON,), {}, "the DICOMweb plugin is not installed: install orthanc-dicomweb 1.0"),
        (
            (DICOMWEB, PYTHON),
            {"Enable": False},
            'the DICOMweb plugin does not serve /dicom-web/servers/: set "Enable" to true',
        ),
    ],
)
def test_without_the_dicomweb_plugin(orthanc, token_server, plugins, dicomweb, message):
    instance = orthanc({**settings(token_server), "DicomWeb": dicomweb}, plugins=plugins)
    instance.wait_for_log(message)
    assert instance.answers()
    assert instance.stop()[1] == 0


@pytest.mark.parametrize("name", ["with space", "übung 日本", "100%", "a?b#c&d"])
def test_unusual_names(orthanc, token_server, name):
    configuration = settings(token_server)
    accounts = configuration["GoogleCloudPlatform"]["Accounts"]
    accounts[name] = accounts.pop("my-google")
    instance = orthanc(configuration)
    instance.wait_for_servers(name)
    assert "get" in instance.json("GET", f"/dicom-web/servers/{quote(name, safe='')}")
