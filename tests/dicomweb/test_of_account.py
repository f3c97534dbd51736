"""The one place that makes a client of an account's store."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import orthanc_gcp
from orthanc_gcp.configuration import read
from orthanc_gcp.dicomweb import StoreError, of_account
from orthanc_gcp.transport.authorization import Authorization
from tests.support.keys import user_account
from tests.support.proxy import Proxy
from tests.support.raw_server import RawServer

PACKAGE = Path(orthanc_gcp.__file__).parent


def none_found(connection, _head):
    connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")


@pytest.fixture
def server():
    with RawServer(none_found) as made:
        yield made


def client(server, authorization=lambda _: Authorization("ya29.x"), *, upsert=False, **options):
    base = f"http://127.0.0.1:{server.port}/v1/"
    settings = read(
        {
            "GoogleCloudPlatform": {
                "BaseUrl": base,
                "Accounts": {"a": user_account("http://localhost/token")},
            },
            **options,
        }
    )
    return of_account(settings, settings.accounts[0], authorization, upsert=upsert)


def test_a_request_goes_to_the_store_of_the_options(server):
    assert list(client(server).instances("1.2")) == []
    (head,) = server.heads
    store = b"/projects/osimis-test/locations/europe-west2/datasets/test/dicomStores/dicom"
    assert head.startswith(b"GET /v1" + store + b"/dicomWeb/studies/1.2/instances?")
    assert b"\r\nauthorization: bearer ya29.x\r\n" in head.lower()


def test_each_request_asks_for_the_authorization_of_its_account(server):
    asked = []

    def authorization(account):
        asked.append(account)
        return Authorization(f"ya29.{len(asked)}", f"project-{len(asked)}")

    store = client(server, authorization)
    for number in (1, 2):
        list(store.instances("1.2"))
        head = server.heads[-1].lower()
        assert f"authorization: bearer ya29.{number}\r\n".encode() in head
        assert f"x-goog-user-project: project-{number}\r\n".encode() in head
    assert asked == ["a", "a"]


def test_instances_are_replaced_by_the_version_that_can(server):
    list(client(server, upsert=True).instances("1.2"))
    assert server.heads[0].startswith(b"GET /v1beta1/projects/")


def test_the_proxy_and_the_trust_of_orthanc(server, tmp_path):
    with Proxy() as proxy, pytest.raises(StoreError):
        list(client(server, HttpProxy=f"127.0.0.1:{proxy.port}").instances("1.2"))
    assert server.heads == []
    with pytest.raises(StoreError, match="HttpsCACertificates"):
        missing = str(tmp_path / "missing.pem")
        settings = read(
            {
                "HttpsCACertificates": missing,
                "GoogleCloudPlatform": {"Accounts": {"a": user_account("http://localhost/t")}},
            }
        )
        of_account(settings, settings.accounts[0], lambda _: Authorization("ya29.x"))


def callers(name: str) -> set[str]:
    """The modules that call something by its name; the emulator has names of its own."""
    found = set()
    for file in {*PACKAGE.rglob("*.py")} - {*(PACKAGE / "emulator").rglob("*.py")}:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == name:
                found.add(str(file.relative_to(PACKAGE)))
    return found


def test_nothing_else_makes_a_client():
    assert callers("DicomStore") == {"dicomweb/of_account.py"}


def test_a_token_and_the_project_it_bills_are_put_together_once():
    assert callers("Authorization") == {"auth/credentials/identity.py"}
