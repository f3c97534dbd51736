"""Access tokens: what they say, for how long, and what is none."""

from __future__ import annotations

from tests.emulator.adjustable import Adjustable


def test_scopes_that_are_not_granted(adjustable: Adjustable) -> None:
    adjustable.change(grantedScopes=["openid"])
    assert adjustable.post().json()["scope"] == "openid"
    adjustable.account.refresh(adjustable.request)
    adjustable.client.token = str(adjustable.account.token)
    assert "insufficient authentication scopes" in adjustable.error()["message"]
