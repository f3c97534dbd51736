"""A gateway in this process, before a store of the emulator."""

from __future__ import annotations

from tests.gateway.conftest import (
    client,
    identities,
    shared_client,
    shared_emulator,
    shared_folder,
    start,
)

__all__ = ["client", "identities", "shared_client", "shared_emulator", "shared_folder", "start"]
