"""The server definition: what is in it, and when what Orthanc shows is not it."""

from __future__ import annotations

import pytest

from orthanc_gcp.clock import SystemClock
from orthanc_gcp.configuration import read
from orthanc_gcp.connector.servers import Servers, definition, differs
from orthanc_gcp.errors import DefinitionError, OrthancUnavailableError
from orthanc_gcp.orthanc.rest import OrthancRest, RestDicomWeb
from orthanc_gcp.transport.authorization import Authorization
from tests.support.keys import user_account
from tests.support.orthanc import DICOMWEB

URL = (
    "https://healthcare.googleapis.com/v1beta1/projects/osimis-test/locations/europe-west2"
    "/datasets/test/dicomStores/dicom/dicomWeb/"
)
SHOWN = {
    "HasDelete": "1",
    "HttpHeaders": ["Authorization"],
    "ManagedBy": "orthanc-gcp",
    "Pkcs11": False,
    "Timeout": 0,
    "Url": URL,
}


def define(token="ya29.x", **server):
    account = user_account("http://localhost/token", Server=server)
    settings = read({"GoogleCloudPlatform": {"Accounts": {"a": account}}})
    return definition(settings.accounts[0], settings, Authorization(token))


def test_the_three_fields_of_the_original():
    assert define() == {
        "Url": URL,
        "HasDelete": "1",
        "HttpHeaders": {"Authorization": "Bearer ya29.x"},
        "ManagedBy": "orthanc-gcp",
    }


def test_the_users_options():
    server = define(HasDelete="0", Timeout=600, HttpHeaders={"X": "1"})
    assert (server["HasDelete"], server["Timeout"]) == ("0", 600)
    assert server["HttpHeaders"] == {"X": "1", "Authorization": "Bearer ya29.x"}
    assert server["Url"] == URL


@pytest.mark.parametrize("token", ["", "a\r\nX: 1", "a\n", "\x00"])
def test_a_token_that_would_inject_a_header(token):
    with pytest.raises(DefinitionError, match="characters that no HTTP header may carry"):
        define(token)


def test_what_orthanc_shows_of_the_definition():
    assert not differs(define(), SHOWN)
    assert not differs(define(Timeout=5), {**SHOWN, "Timeout": 5})
    assert not differs(define(Chunked=False), {**SHOWN, "Chunked": "0"})
    assert not differs(define(Chunked=True, N=3), {**SHOWN, "Chunked": "1", "N": "3"})
    assert not differs(define(), {**SHOWN, "FieldOfANewerVersion": True})
    assert not differs(
        define(Username="u", Password="p", HttpHeaders={"X": "1"}),
        {**SHOWN, "Username": "u", "HttpHeaders": ["Authorization", "X"]},
    )


@pytest.mark.parametrize(
    "shown",
    [
        None,
        {},
        {**SHOWN, "Url": "http://elsewhere/"},
        {**SHOWN, "HttpHeaders": []},
        {**SHOWN, "HttpHeaders": ["Authorization", "X"]},
        {**SHOWN, "HttpHeaders": None},
        {**SHOWN, "HasDelete": "0"},
        {**SHOWN, "Timeout": 7},
        {key: value for key, value in SHOWN.items() if key != "ManagedBy"},
    ],
)
def test_what_somebody_else_wrote(shown):
    assert differs(define(), shown)


class Plugin:
    """The DICOMweb plugin as somebody else's Orthanc has it."""

    def __init__(self, version):
        self._version = version

    def version(self):
        return self._version

    def shown(self):
        return {}


@pytest.mark.parametrize("version", ["1.0", "1.7", "1.24", "2.0", "mainline"])
def test_versions_of_the_dicomweb_plugin_that_are_new_enough(version):
    assert Servers(Plugin(version), read({}), SystemClock()).open()


@pytest.mark.parametrize("version", ["0.6", "0.9.1"])
def test_versions_that_are_too_old(version, caplog):
    assert not Servers(Plugin(version), read({}), SystemClock()).open()
    assert (
        f"the DICOMweb plugin {version} is too old: install orthanc-dicomweb 1.0 or newer and name "
        "its library in Plugins" in caplog.text
    )


# -- In a real DICOMweb plugin --------------------------------------------------------------------


@pytest.fixture
def servers_of(orthanc):
    """Makes the servers of one account in an Orthanc without the Python plugin."""

    def make(**dicomweb):
        instance = orthanc({"DicomWeb": dicomweb}, plugins=(DICOMWEB,))
        account = user_account("http://localhost/token")
        settings = read({"DicomWeb": dicomweb, "GoogleCloudPlatform": {"Accounts": {"a": account}}})
        plugin = RestDicomWeb(OrthancRest(instance.url), settings.servers_root)
        return instance, Servers(plugin, settings, SystemClock()), settings.accounts[0]

    return make


def test_what_is_published_early_is_written_when_orthanc_is_up(servers_of):
    instance, servers, account = servers_of()
    servers.publish(account, Authorization("ya29.x"))
    servers.reconcile()
    assert (instance.servers(), servers.published_since("a")) == ({}, None)
    assert servers.open()
    assert not differs(define(), instance.servers()["a"])
    assert servers.published_since("a") is not None


def test_what_somebody_changed_is_restored(servers_of, caplog):
    instance, servers, account = servers_of()
    servers.open()
    servers.publish(account, Authorization("ya29.x"))
    servers.reconcile()
    assert "restoring" not in caplog.text
    instance.request("DELETE", "/dicom-web/servers/a")
    servers.reconcile()
    assert "account a: its DICOMweb server was changed, restoring" in caplog.text
    assert not differs(define(), instance.servers()["a"])


def test_a_token_that_orthanc_did_not_take(servers_of, caplog, monkeypatch):
    """As one that is busy; what it shows is the same for either token."""
    instance, servers, account = servers_of()
    servers.open()
    servers.publish(account, Authorization("ya29.x"))
    written, put = [], RestDicomWeb.put

    def refuse(*_):
        raise OrthancUnavailableError("it does not answer")

    def write(plugin, name, server):
        put(plugin, name, server)
        written.append(server["HttpHeaders"]["Authorization"])

    monkeypatch.setattr(RestDicomWeb, "put", refuse)
    servers.publish(account, Authorization("ya29.y"))
    assert servers.is_behind
    assert servers.published_since("a") is None
    servers.reconcile()
    assert caplog.text.count("cannot be published: it does not answer") == 1
    monkeypatch.setattr(RestDicomWeb, "put", write)
    servers.reconcile()
    assert written == ["Bearer ya29.y"]
    assert not servers.is_behind
    assert servers.published_since("a") is not None
    assert "account a: its DICOMweb server has the newest token again" in caplog.text
    servers.reconcile()
    assert len(written) == 1
    assert list(instance.servers()) == ["a"]


def test_a_disabled_plugin(servers_of, caplog):
    _, servers, _ = servers_of(Enable=False)
    assert not servers.open()
    assert 'set "Enable" to true' in caplog.text
    servers.close()


@pytest.mark.parametrize("in_database", [True, False])
def test_tokens_do_not_stay_in_the_database(servers_of, in_database):
    instance, servers, account = servers_of(ServersInDatabase=in_database)
    servers.open()
    servers.publish(account, Authorization("ya29.x"))
    servers.close()
    servers.publish(account, Authorization("ya29.y"))
    assert list(instance.servers()) == ([] if in_database else ["a"])


def test_an_orthanc_that_is_gone(servers_of, caplog):
    instance, servers, account = servers_of(ServersInDatabase=True)
    servers.open()
    servers.publish(account, Authorization("ya29.x"))
    instance.stop()
    with pytest.raises(OrthancUnavailableError):
        servers.reconcile()
    servers.publish(account, Authorization("ya29.y"))
    assert "account a: its DICOMweb server cannot be published" in caplog.text
    servers.close()
    assert "account a: its token stays in the database" in caplog.text
    assert "ya29" not in caplog.text
