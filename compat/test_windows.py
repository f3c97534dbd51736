"""What only POSIX has stands only where something else stands in for it on Windows.

mypy's own knowledge of Windows' standard library; ``tests/test_portability.py`` runs all of it.
"""

from __future__ import annotations

import re
import subprocess
import sys

from compat.releases import ROOT

GUARDED = {
    "clock",
    "commands/check",
    "doctor/file_remedies",
    "emulator/command",
    "emulator/dicom/imaging_pool",
    "emulator/dicom/imaging_process",
    "installation/host",
    "installation/install",
    "installation/steps",
    "file_locks",
    "ledger/workers",
    "transport/unix_socket",
    "users",
    "worker/private_socket",
}
"""Each asks first whether it is there; ``installation`` is for Linux alone and says so."""


def test_nothing_else_names_what_windows_lacks(tmp_path):
    command = [sys.executable, "-m", "mypy", "--platform", "win32", "--cache-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    found = re.findall(
        r"^src/orthanc_gcp/(\S+)\.py:\d+: error: .*has no attribute", done.stdout, re.MULTILINE
    )
    assert set(found) == GUARDED, done.stdout
