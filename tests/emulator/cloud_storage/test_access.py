"""Who may use the buckets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import google.auth.transport.urllib3
import pytest
from google.oauth2 import service_account

from tests.emulator.cloud_storage.bucket import Bucket, reason

AUTH = "https://www.googleapis.com/auth"
CALLS: dict[str, Callable[[Bucket], Any]] = {
    "storage.buckets.list": lambda b: b.request("GET", "/storage/v1/b"),
    "storage.buckets.get": lambda b: b.request("GET", f"/storage/v1/b/{b.name}"),
    "storage.buckets.create": lambda b: b.request("POST", "/storage/v1/b", b"{}"),
    "storage.buckets.delete": lambda b: b.request("DELETE", f"/storage/v1/b/{b.name}"),
    "storage.objects.list": lambda b: b.about("GET"),
    "storage.objects.get": lambda b: b.about("GET", "a"),
    "storage.objects.update": lambda b: b.about("PATCH", "a", b"{}"),
    "storage.objects.create": lambda b: b.upload("b", b"1"),
    "storage.objects.delete": lambda b: b.about("DELETE", "b"),
}
READING = {name for name in CALLS if name.endswith(("get", "list"))}


def with_scopes(bucket: Bucket, *scopes: str) -> Bucket:
    """Let a bucket be asked with a token."""
    folder = bucket.emulator.credentials
    assert isinstance(folder, Path)
    signer = service_account.Credentials.from_service_account_file(
        str(folder / "service-account.json"), scopes=list(scopes)
    )
    signer.refresh(google.auth.transport.urllib3.Request(bucket.pool))
    bucket.headers = {"Authorization": f"Bearer {signer.token}"}
    return bucket


def refused(bucket: Bucket) -> set[str]:
    """Return what is refused with 403."""
    bucket.folder.joinpath("a").write_bytes(b"1")
    found = set()
    for name, call in CALLS.items():
        answer = call(bucket)
        if answer.status == 403:
            assert reason(answer) == (403, "forbidden")
            found.add(name)
    return found


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (f"{AUTH}/devstorage.full_control", set()),
        (f"{AUTH}/devstorage.read_write", set()),
        (f"{AUTH}/cloud-platform", set()),
        (f"{AUTH}/devstorage.read_only", CALLS.keys() - READING),
        (f"{AUTH}/cloud-healthcare", set(CALLS)),
        (f"{AUTH}/pubsub", set(CALLS)),
    ],
)
def test_scopes(bucket: Bucket, scope: str, expected: set[str]) -> None:
    assert refused(with_scopes(bucket, scope)) == expected


def test_everybody_may_do_everything_without_a_credential(bucket: Bucket) -> None:
    assert refused(bucket) == set()


@pytest.mark.parametrize("permission", CALLS)
def test_permissions_can_be_taken_away(bucket: Bucket, permission: str) -> None:
    bucket.emulator.fault_settings.change(deniedPermissions=[permission])
    assert refused(bucket) == {permission}
    answer = CALLS[permission](bucket)
    assert answer.json()["error"]["message"].startswith(
        f"Anonymous caller does not have {permission} access to the Google Cloud Storage "
    )


def test_strangers(bucket: Bucket) -> None:
    bucket.emulator.fault_settings.change(strangers=["allUsers"])
    assert refused(bucket) == set(CALLS)
    email = bucket.emulator.identities.service_accounts[0].email
    assert refused(with_scopes(bucket, f"{AUTH}/cloud-platform")) == set()
    bucket.emulator.fault_settings.change(strangers=[email])
    assert refused(bucket) == set(CALLS)


@pytest.mark.parametrize("header", ["Bearer x", "Bearer ", "Basic eA==", "", "Bearer ya29.c.AAAA"])
def test_tokens_that_are_none(bucket: Bucket, header: str) -> None:
    for call in CALLS.values():
        bucket.headers = {"Authorization": header}
        assert reason(call(bucket)) == (401, "authError")


def test_a_token_that_has_expired(bucket: Bucket) -> None:
    with_scopes(bucket, f"{AUTH}/cloud-platform")
    bucket.emulator.fault_settings.change(clockOffset=4000)
    assert reason(bucket.about("GET")) == (401, "authError")


def test_a_page_in_a_browser(bucket: Bucket) -> None:
    """A page that somebody visits must not write into the folder, nor read it."""
    page = {"Origin": "https://evil.example.org"}
    assert reason(bucket.upload("a", b"1", page)) == (401, "required")
    for call in CALLS.values():
        bucket.headers = page
        assert reason(call(bucket)) == (401, "required")
    assert not any(bucket.folder.iterdir())
    with_scopes(bucket, f"{AUTH}/cloud-platform")
    answer = bucket.about("GET", headers=page)
    assert answer.status == 200
    assert "access-control-allow-origin" not in answer.headers


def test_a_token_in_the_query(bucket: Bucket) -> None:
    with_scopes(bucket, f"{AUTH}/cloud-platform")
    token = bucket.headers.pop("Authorization").removeprefix("Bearer ")
    assert bucket.about("GET", access_token=token).status == 200
    assert bucket.about("GET", access_token="x").status == 401
