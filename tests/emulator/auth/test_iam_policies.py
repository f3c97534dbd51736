"""IAM policies: who may do what, with policies and without."""

from __future__ import annotations

from tests.emulator.adjustable import Adjustable


def test_an_account_of_another_project(adjustable: Adjustable) -> None:
    adjustable.change(strangers=[adjustable.emulator.identities.service_accounts[0].email])
    assert "(or it may not exist)" in adjustable.error()["message"]
    adjustable.client.token = adjustable.post().json()["access_token"]
    assert adjustable.client.get("/studies").status == 204
