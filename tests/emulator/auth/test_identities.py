"""Identities: their keys and refresh tokens, and the file that they are in."""

from __future__ import annotations

import json
import stat
from pathlib import Path

from google.oauth2 import service_account

from orthanc_gcp.emulator.auth.identities import Identities, write_private
from orthanc_gcp.emulator.server import Emulator
from tests.emulator.adjustable import Adjustable
from tests.emulator.auth.token_endpoint import Endpoint, refuses


def test_a_revoked_refresh_token(emulator: Emulator) -> None:
    endpoint = Endpoint(emulator)
    assert endpoint.refresh()[0] == 200
    emulator.identities.revoke(endpoint.user["refresh_token"])
    expected = refuses("invalid_grant", "Token has been expired or revoked.")
    assert endpoint.refresh() == expected


def test_a_new_key_works_beside_the_old_one(emulator: Emulator) -> None:
    endpoint = Endpoint(emulator)
    account = emulator.identities.service_accounts[0]
    key_id = emulator.identities.add_key(account)
    assert endpoint.bearer(endpoint.assertion())[0] == 200
    endpoint.key |= {"private_key_id": key_id, "private_key": account.keys[key_id]}
    assert endpoint.bearer(endpoint.assertion())[0] == 200


def test_a_key_that_is_deleted(adjustable: Adjustable) -> None:
    adjustable.change(deletedKeys=[adjustable.account._signer.key_id])
    assert "Invalid JWT Signature" in adjustable.refused()
    key = adjustable.emulator.identities.service_accounts[0].key_file("")
    by_itself = service_account.Credentials.from_service_account_info(key)
    by_itself._create_self_signed_jwt("https://healthcare.googleapis.com/")
    by_itself.refresh(adjustable.request)
    adjustable.client.token = str(by_itself.token)
    assert adjustable.client.get("/studies").status == 401
    adjustable.change(deletedKeys=[])
    assert adjustable.client.get("/studies").status == 204


def test_a_refresh_token_that_is_revoked(adjustable: Adjustable) -> None:
    user = adjustable.emulator.identities.users[0]
    assert adjustable.post().status == 200
    adjustable.change(revokedRefreshTokens=[user.refresh_token])
    assert adjustable.post().json()["error_description"] == "Token has been expired or revoked."


def test_identities_outlive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "identities.json"
    first = Identities(path, "one")
    key_id = first.add_key(first.service_accounts[0])
    signed = first.sign_id_token({"aud": "x"})
    again = Identities(path, "two")
    assert again.service_accounts == first.service_accounts
    assert again.keys(again.service_accounts[0]).keys() >= {key_id}
    assert (again.users, again.workforce) == (first.users, first.workforce)
    assert (again.token_secret, again.pools) == (first.token_secret, first.pools)
    assert again.jwks() == first.jwks()
    assert again.sign_id_token({"aud": "x"}) == signed
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    json.loads(path.read_text())


def test_keys_and_refresh_tokens_that_are_gone(tmp_path: Path) -> None:
    identities = Identities(tmp_path / "identities.json", "one")
    (account, _), user = identities.service_accounts, identities.users[0]
    first, second = next(iter(account.keys)), identities.add_key(account)
    identities.delete_key(first)
    assert list(identities.keys(account)) == [second]
    assert not identities.is_revoked(user)
    identities.revoke(user.refresh_token)
    again = Identities(tmp_path / "identities.json", "one")
    assert list(again.service_accounts[0].keys) == [second]
    assert again.is_revoked(again.users[0])
    assert not again.is_revoked(again.workforce[0])


def test_a_private_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    path.chmod(0o644)
    write_private(path, b"after")
    assert path.read_bytes() == b"after"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_reset_brings_back_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "identities.json"
    Identities(path, "one")
    before = path.read_bytes()
    identities = Identities(path, "one")
    account = identities.service_accounts[0]
    (first,) = account.keys
    identities.add_key(account)
    identities.delete_key(first)
    for user in (*identities.users, *identities.workforce):
        identities.revoke(user.refresh_token)
    identities.users.append(identities.workforce[0])
    for _ in range(2):
        identities.reset()
        assert path.read_bytes() == before
        assert list(identities.service_accounts[0].keys) == [first]
        assert [user.revoked for user in identities.users] == [False]
        identities.revoke(identities.users[0].refresh_token)
