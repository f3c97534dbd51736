"""Policies of stores and datasets, and the permissions that every call takes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google.auth.transport.urllib3
import google.oauth2.credentials
import pytest

from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.client import STORE, Client, make_dicom, path_of, read

DATASET = STORE.partition("/dicomStores/")[0]
ACCOUNT = "serviceAccount:orthanc@osimis-test.iam.gserviceaccount.com"
READ, WRITE, DELETE = (f"healthcare.dicomStores.dicomWeb{n}" for n in ("Read", "Write", "Delete"))
EVERYTHING = [READ, WRITE, DELETE, "healthcare.dicomStores.get"]


class People:
    """A service account, and the user who owns the project."""

    def __init__(self, emulator: Emulator, credentials: Path) -> None:
        self.emulator = emulator
        self.account = Client(emulator.url, credentials)
        self.owner = Client(emulator.url, credentials)
        user = google.oauth2.credentials.Credentials.from_authorized_user_file(
            str(credentials / "authorized-user.json")
        ).with_token_uri(emulator.token_uri)
        user.refresh(google.auth.transport.urllib3.Request(self.owner.pool))
        self.owner.token = user.token

    def set_policy(self, *roles: str, resource: str = STORE, **more: Any) -> tuple[int, Any]:
        bindings = [{"role": f"roles/healthcare.{role}", "members": [ACCOUNT]} for role in roles]
        return call(self.owner, f"{resource}:setIamPolicy", {"bindings": bindings, **more})

    def permissions(self, *asked: str, resource: str = STORE) -> list[str]:
        body = {"permissions": list(asked or EVERYTHING)}
        path = f"{self.account.url}/v1/{resource}:testIamPermissions"
        answer = self.account.request("POST", path, json.dumps(body).encode())
        assert answer.status == 200
        return list(answer.json().get("permissions", []))


def call(client: Client, path: str, policy: Any) -> tuple[int, Any]:
    body = json.dumps({"policy": policy}).encode()
    answer = client.request("POST", f"{client.url}/v1/{path}", body)
    return answer.status, answer.json()


@pytest.fixture
def people(emulator: Emulator, credentials: Path) -> Iterator[People]:
    people = People(emulator, credentials)
    yield people
    people.account.pool.clear()
    people.owner.pool.clear()


def test_at_first_everybody_may_do_everything(people: People) -> None:
    assert people.permissions() == EVERYTHING
    answer = people.account.get(f"{people.account.url}/v1/{STORE}:getIamPolicy")
    assert (answer.status, answer.json()) == (200, {"etag": "ACAB"})


@pytest.mark.parametrize(
    ("role", "granted"),
    [
        ("dicomViewer", [READ, "healthcare.dicomStores.get"]),
        ("dicomEditor", EVERYTHING),
        ("dicomStoreViewer", ["healthcare.dicomStores.get"]),
        ("dicomStoreAdmin", [DELETE, "healthcare.dicomStores.get"]),
        ("datasetViewer", []),
    ],
)
@pytest.mark.parametrize("resource", [STORE, DATASET])
def test_what_a_role_grants(people: People, role: str, granted: list[str], resource: str) -> None:
    status, policy = people.set_policy(role, resource=resource)
    assert (status, policy["version"]) == (200, 1)
    assert people.permissions() == granted
    content = make_dicom()
    upload, search = people.account.store(content), people.account.get("/studies")
    assert (upload.status == 200) == (WRITE in granted)
    assert (search.status != 403) == (READ in granted)
    deleted = people.account.request("DELETE", path_of(read(content)))
    assert (deleted.status == 200) == (DELETE in granted and WRITE in granted)
    assert people.owner.get("/studies").status in (200, 204)


def test_a_call_that_is_denied_says_what_it_takes(people: People) -> None:
    people.set_policy("dicomStoreViewer")
    answer = people.account.get("/studies")
    error = answer.json()["error"]
    assert (answer.status, error["status"]) == (403, "PERMISSION_DENIED")
    assert error["message"].startswith(f"Permission '{READ}' denied on resource '{STORE}' (or it")


def test_a_dataset_has_permissions_of_its_own(people: People) -> None:
    people.set_policy("dicomEditor", resource=DATASET)
    study = f"/studies/{read(content := make_dicom()).StudyInstanceUID}"
    assert people.account.store(content).status == 200
    operation = people.account.request("DELETE", study).json()["name"]
    # Who may delete a study may not see the operation's end yet.
    url = f"{people.account.url}/v1/{operation}"
    assert people.account.get(url).status == 403
    people.set_policy("dicomEditor", "datasetViewer", resource=DATASET)
    assert people.account.get(url).json()["done"] is True


def test_members_by_other_names(people: People) -> None:
    identities = people.emulator.identities
    members = [
        "allAuthenticatedUsers",
        f"principal://iam.googleapis.com/{identities.pools.workloads}/subject/somebody",
        f"principalSet://iam.googleapis.com/{identities.pools.workloads}/*",
        "user:other@example.org",
    ]
    allowed = []
    for member in members:
        binding = {"role": "roles/healthcare.dicomViewer", "members": [member]}
        assert call(people.owner, f"{STORE}:setIamPolicy", {"bindings": [binding]})[0] == 200
        principal = identities.pools.workload_principal(identities.pools.SUBJECT)
        resource = Options(Path()).stores[0]
        allowed.append(people.emulator.policies.allows(principal, READ, resource))
    assert allowed == [True, False, True, False]


def test_a_policy_can_be_taken_back(people: People) -> None:
    people.set_policy("dicomViewer")
    assert people.set_policy() == (200, {"etag": "ACAB"})
    assert people.permissions() == EVERYTHING


def test_an_etag_guards_what_another_has_changed(people: People) -> None:
    _, first = people.set_policy("dicomViewer")
    assert people.set_policy("dicomEditor", etag=first["etag"])[0] == 200
    status, body = people.set_policy("dicomStoreViewer", etag=first["etag"])
    assert (status, body["error"]["status"]) == (409, "ABORTED")


@pytest.mark.parametrize(
    "policy",
    [
        None,
        {"bindings": 1},
        {"bindings": [1]},
        {"bindings": [{"role": "roles/nothing", "members": []}]},
        {"bindings": [{"role": ["x"], "members": []}]},
        {"bindings": [{"role": "roles/healthcare.dicomViewer"}]},
        {"bindings": [{"role": "roles/healthcare.dicomViewer", "members": ["nobody"]}]},
    ],
)
def test_policies_that_cannot_be(client: Client, policy: Any) -> None:
    status, body = call(client, f"{client.store_name}:setIamPolicy", policy)
    assert (status, body["error"]["status"]) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize("permissions", [["healthcare.nothing"], [1], [[]], "x"])
def test_permissions_that_there_are_not(client: Client, permissions: Any) -> None:
    url = f"{client.url}/v1/{STORE}:testIamPermissions"
    body = json.dumps({"permissions": permissions}).encode()
    assert client.request("POST", url, body).status == 400


def test_a_resource_that_does_not_exist(people: People) -> None:
    for resource, status in ((f"{STORE}x", 404), (f"{DATASET}x", 403)):
        assert people.permissions(resource=resource) == []
        assert people.set_policy("dicomViewer", resource=resource)[0] == status
        url = f"{people.account.url}/v1/{resource}:getIamPolicy"
        assert people.account.get(url).status == status


def test_policies_survive_a_restart(tmp_path: Path, identities: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "identities.json").write_bytes(identities.read_bytes())
    options = Options(folder, write_credentials=folder)
    for _ in range(2):
        with Emulator(options) as emulator:
            people = People(emulator, folder)
            people.set_policy("dicomViewer", resource=DATASET)
    with Emulator(options) as emulator:
        assert People(emulator, folder).permissions() == [READ, "healthcare.dicomStores.get"]


def test_a_store_that_is_deleted_takes_everything_along(people: People) -> None:
    content = make_dicom()
    client = people.account.of_new_store()
    client.store(content)
    name = client.store_name
    call(people.owner, f"{name}:setIamPolicy", {"bindings": [editor(ACCOUNT)]})
    store = f"{client.url}/v1/{name}"
    assert client.request("DELETE", store).status == 403
    owner = people.owner
    assert (owner.request("DELETE", store).status, owner.request("DELETE", store).status) == (
        200,
        404,
    )
    assert client.get("/studies").status == 403
    assert client.get(store).status == 404
    parent, _, short = name.rpartition("/")
    client.request("POST", f"{client.url}/v1/{parent}?dicomStoreId={short}", b"{}")
    # The new store of the same name has nothing of the old one, its policy included.
    assert client.get("/studies").status == 204
    assert client.store(content).status == 200


def editor(member: str) -> dict[str, Any]:
    return {"role": "roles/healthcare.dicomEditor", "members": [member]}
