"""Notes, before Orthanc listens, since when it is to be followed.

It is called while Orthanc starts, and reads no more of the configuration than it has to.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from orthanc_gcp.orthanc.first_start import note

__all__ = ["configuration_folder", "followed_since"]


def followed_since(orthanc: Any, now: float) -> float:
    """Since when this Orthanc is to be followed, in UTC seconds; noted if it has rules.

    Parameters
    ----------
    now
        Seconds since 1970, UTC.
    """
    try:
        folder = _storage_folder(orthanc)
        return now if folder is None else note(folder, now)
    except OSError as error:
        orthanc.LogError(
            "orthanc-gcp cannot note in StorageDirectory since when Orthanc is to be followed: "
            f"{error.strerror}"
        )
    except ValueError:  # whoever reads all of the configuration says what is wrong with it
        pass
    return now


def _storage_folder(orthanc: Any) -> Path | None:
    """Where Orthanc keeps its files; None where no rules are.

    Raises
    ------
    ValueError
        Orthanc's configuration is not JSON.
    """
    configuration = json.loads(orthanc.GetConfiguration())
    section = configuration.get("GoogleCloudPlatform")
    directory = configuration.get("StorageDirectory", "OrthancStorage")
    if not (isinstance(section, dict) and section.get("Send") and isinstance(directory, str)):
        return None
    return configuration_folder(orthanc) / directory


def configuration_folder(orthanc: Any) -> Path:
    """Where the files of relative options are looked for: where Orthanc looks for its own.

    ``GetConfigurationPath()`` does not tell: for a folder it gives the parent, unless a slash ends
    its name (seen with Orthanc 1.10 to 1.13). The command line does; no option of Orthanc is
    followed by a value of its own.
    """
    count = orthanc.GetCommandLineArgumentsCount()
    arguments = [orthanc.GetCommandLineArgument(number) for number in range(count)]
    given = [Path(one) for one in arguments if not one.startswith("-")]
    path = given[0] if given else Path()
    return (path if path.is_dir() else path.parent).absolute()
