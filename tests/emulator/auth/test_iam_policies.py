"""IAM policies: who may do what, with policies and without."""

from __future__ import annotations

import pytest

from orthanc_gcp.emulator.auth.iam_policies import NO_POLICY
from orthanc_gcp.emulator.server import DEFAULT_STORE, Emulator
from tests.emulator.adjustable import Adjustable


def test_an_account_of_another_project(adjustable: Adjustable) -> None:
    adjustable.change(strangers=[adjustable.emulator.identities.service_accounts[0].email])
    assert "(or it may not exist)" in adjustable.error()["message"]
    adjustable.client.token = adjustable.post().json()["access_token"]
    assert adjustable.client.get("/studies").status == 204


READ = "healthcare.dicomStores.dicomWebRead"
VIEWER = "roles/healthcare.dicomViewer"
SOMEBODY = "somebody@example.org"


def bindings(*members: str, role: str = VIEWER) -> list[dict[str, object]]:
    return [{"role": role, "members": list(members)}]


def test_without_policies_everybody_may(emulator: Emulator) -> None:
    policies = emulator.policies
    assert policies.allows(SOMEBODY, READ, DEFAULT_STORE)
    # That of another store says nothing about this one.
    policies.set(DEFAULT_STORE.parent.store("other"), bindings("user:a@b"))
    assert policies.allows(SOMEBODY, READ, DEFAULT_STORE)
    assert policies.get(DEFAULT_STORE) == NO_POLICY


@pytest.mark.parametrize(
    ("member", "identity", "allowed"),
    [
        (f"user:{SOMEBODY}", SOMEBODY, True),
        (f"serviceAccount:{SOMEBODY}", SOMEBODY, False),
        ("serviceAccount:a@b.iam.gserviceaccount.com", "a@b.iam.gserviceaccount.com", True),
        ("allUsers", SOMEBODY, True),
        ("principal://x/subject/y", "principal://x/subject/y", True),
        ("principal://x/subject/y", "principal://x/subject/z", False),
    ],
)
def test_members(emulator: Emulator, member: str, identity: str, allowed: bool) -> None:
    emulator.policies.set(DEFAULT_STORE, bindings(member))
    assert emulator.policies.allows(identity, READ, DEFAULT_STORE) is allowed
    assert not emulator.policies.allows(identity, READ.replace("Read", "Write"), DEFAULT_STORE)


def test_the_workloads_of_the_pool(emulator: Emulator) -> None:
    pools = emulator.identities.pools
    everybody = f"principalSet://iam.googleapis.com/{pools.workloads}/*"
    emulator.policies.set(DEFAULT_STORE, bindings(everybody))
    assert emulator.policies.allows(pools.workload_principal("any"), READ, DEFAULT_STORE)
    assert not emulator.policies.allows(pools.workforce_principal("any"), READ, DEFAULT_STORE)


def test_a_store_inherits_from_its_dataset(emulator: Emulator) -> None:
    policies, dataset = emulator.policies, DEFAULT_STORE.parent
    policies.set(dataset, bindings(f"user:{SOMEBODY}"))
    assert policies.allows(SOMEBODY, READ, DEFAULT_STORE)
    assert not policies.allows("other@example.org", READ, DEFAULT_STORE)
    policies.set(DEFAULT_STORE, bindings("user:other@example.org"))
    assert policies.allows(SOMEBODY, READ, DEFAULT_STORE)
    assert policies.allows("other@example.org", READ, DEFAULT_STORE)
    assert not policies.allows("other@example.org", READ, dataset)


def test_the_owner_may_always(emulator: Emulator) -> None:
    emulator.policies.set(DEFAULT_STORE, bindings("user:a@b"))
    owner = emulator.identities.users[0].email
    assert emulator.policies.allows(owner, READ, DEFAULT_STORE)
    emulator.fault_settings.change(deniedPermissions=[READ])
    assert not emulator.policies.allows(owner, READ, DEFAULT_STORE)


def test_a_policy_comes_and_goes(emulator: Emulator) -> None:
    policies = emulator.policies
    first, second = (policies.set(DEFAULT_STORE, bindings("user:a@b")) for _ in range(2))
    assert policies.get(DEFAULT_STORE) == second
    assert (first["bindings"], first["version"]) == (second["bindings"], 1)
    assert first["etag"] != second["etag"]
    assert policies.set(DEFAULT_STORE, []) == NO_POLICY
    assert policies.allows(SOMEBODY, READ, DEFAULT_STORE)
    policies.set(DEFAULT_STORE, bindings("user:a@b"))
    policies.forget(DEFAULT_STORE)
    assert policies.allows(SOMEBODY, READ, DEFAULT_STORE)
