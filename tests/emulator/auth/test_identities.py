"""Identities: their keys and refresh tokens, and the file that they are in."""

from __future__ import annotations

from google.oauth2 import service_account

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
