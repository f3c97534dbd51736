"""Archives that are the same bytes for the same files."""

from __future__ import annotations

import os
import time
import zipfile
from pathlib import Path

__all__ = ["pack"]


def pack(folder: Path, archive: Path, epoch: int) -> Path:
    """Put a folder into a zip file, under its own name, with one time for all of it.

    Parameters
    ----------
    epoch
        That time, in seconds since 1970.
    """
    moment = time.gmtime(epoch)[:6]
    archive.unlink(missing_ok=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as opened:
        for file in sorted(folder.rglob("*")):
            if file.is_dir():
                continue
            name = f"{folder.name}/{file.relative_to(folder).as_posix()}"
            info = zipfile.ZipInfo(name, moment)
            info.create_system = 3  # Unix, whose modes follow
            runs = os.access(file, os.X_OK)
            info.external_attr = (0o100755 if runs else 0o100644) << 16
            opened.writestr(info, file.read_bytes(), zipfile.ZIP_DEFLATED, 9)
    return archive
