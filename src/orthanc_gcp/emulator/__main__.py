"""``python -m orthanc_gcp.emulator``: the same as ``orthanc-gcp emulator``."""

from __future__ import annotations

import typer

from orthanc_gcp.emulator.command import emulator

if __name__ == "__main__":
    typer.run(emulator)
