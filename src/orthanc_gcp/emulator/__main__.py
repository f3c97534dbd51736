"""``python -m orthanc_gcp.emulator``: the same as ``orthanc-gcp emulator``."""

from __future__ import annotations

from orthanc_gcp.emulator.command import emulator

if __name__ == "__main__":
    emulator.main(prog_name="python -m orthanc_gcp.emulator")
