"""What an emulator in this process has stored: looked up, as to ask it each time takes long."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from orthanc_gcp.emulator.resource_names import StoreName
from orthanc_gcp.emulator.server import Emulator

__all__ = ["stored_digests"]

_QUERY = (
    "SELECT studies.uid, series.uid, instances.uid, sha256 FROM instances"
    " JOIN series ON series.id = series JOIN studies ON studies.id = study"
    " JOIN stores ON stores.id = store WHERE stores.name = ?"
)


def stored_digests(emulator: Emulator, store: StoreName) -> dict[tuple[str, str, str], str]:
    """The SHA-256 of each instance of a store, by its UIDs."""
    path = emulator.ca.with_name("index.sqlite")
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as index:
        found = index.execute(_QUERY, (str(store),)).fetchall()
    return {(study, series, uid): digest.hex() for study, series, uid, digest in found}
