"""What the plugin and the worker that it starts say to each other: one line of JSON each way.

The plugin writes a :class:`WorkerInput` to the worker's standard input, which no list of processes
shows; the worker answers with a :class:`WorkerAddress` on its standard output.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["WorkerAddress", "WorkerInput"]


@dataclass(frozen=True)
class WorkerInput:
    """All that a worker needs to know of the Orthanc that starts it.

    Attributes
    ----------
    configuration
        The whole of Orthanc's configuration.
    folder
        Where the files that it names by relative paths are looked for.
    orthanc
        The address of Orthanc's REST API.
    fingerprint
        SHA-256 of Orthanc's certificate in hexadecimal digits; empty where it speaks HTTP.
    authorization
        The value of the header ``Authorization`` that Orthanc takes requests with.
    name
        Tells this worker from others on the same database; the same after a restart.
    since
        A moment before Orthanc listened, in UTC seconds: all that it received later is followed.
    secret
        What the worker's own API is asked with.
    """

    configuration: dict[str, Any] = field(repr=False)
    folder: Path
    orthanc: str
    fingerprint: str
    authorization: str = field(repr=False)
    name: str
    since: float
    secret: str = field(repr=False)

    def line(self) -> bytes:
        """What is written."""
        return _line(
            {
                "Configuration": self.configuration,
                "Folder": str(self.folder),
                "Orthanc": self.orthanc,
                "Fingerprint": self.fingerprint,
                "Authorization": self.authorization,
                "Name": self.name,
                "Since": self.since,
                "Secret": self.secret,
            }
        )

    @classmethod
    def of_line(cls, line: bytes) -> WorkerInput:
        """What was written; raises ValueError for what another version may have written."""
        given = _object(line)
        try:
            return cls(
                configuration=dict(given["Configuration"]),
                folder=Path(given["Folder"]),
                orthanc=str(given["Orthanc"]),
                fingerprint=str(given["Fingerprint"]),
                authorization=str(given["Authorization"]),
                name=str(given["Name"]),
                since=float(given["Since"]),
                secret=str(given["Secret"]),
            )
        except KeyError as error:
            raise ValueError(f"it lacks {error}") from None
        except (TypeError, ValueError):
            raise ValueError("it holds something else") from None


@dataclass(frozen=True)
class WorkerAddress:
    """Where the worker's API is: a socket in a folder of its own, or a TCP port of loopback."""

    socket: Path | int

    def line(self) -> bytes:
        """What is written."""
        if isinstance(self.socket, int):
            return _line({"Port": self.socket})
        return _line({"Socket": str(self.socket)})

    @classmethod
    def of_line(cls, line: bytes) -> WorkerAddress:
        """What was written; raises ValueError where the worker has ended instead."""
        given = _object(line)
        path, port = given.get("Socket"), given.get("Port")
        if type(port) is int and 0 < port < 65536:
            return cls(port)
        if not isinstance(path, str) or not path:
            raise ValueError("it lacks 'Socket'")
        return cls(Path(path))


def _line(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode() + b"\n"


def _object(line: bytes) -> dict[str, Any]:
    """The JSON object in a line; a message never repeats it, for it holds secrets."""
    try:
        found = json.loads(line)
        return dict(found.items())
    except (ValueError, AttributeError):
        raise ValueError("it is no JSON object") from None
