"""What ``import orthanc`` gives inside Orthanc, for code that takes it as an argument.

Every call that asks something is answered by a real Orthanc over HTTP; what Orthanc shows of the
rest (its log, its metrics, its routes) is kept for the test to see. What the real module does is
seen in tests/integration.
"""

# ruff: noqa: N802 -- the names are Orthanc's

from __future__ import annotations

import json
import struct
from typing import Any

from tests.support.orthanc import Orthanc


class OrthancException(Exception):  # noqa: N818 -- Orthanc names it so
    """What a refused call raises: a number and words."""


class Output:
    """What a REST callback answers with, as the Python plugin 5 has it."""

    def __init__(self) -> None:
        self.status, self.body, self.allow, self.headers = 0, "", "", {}
        self.location = ""

    def AnswerBuffer(self, body: str | bytes, kind: str) -> None:
        self.status, self.body, self.headers["Content-Type"] = 200, body, kind

    def SendMethodNotAllowed(self, allow: str) -> None:
        self.status, self.allow = 405, allow

    def SendHttpStatus(self, status: int, body: str) -> None:
        self.status, self.body = status, body

    def SendHttpStatusCode(self, status: int) -> None:
        self.status = status

    def SetHttpHeader(self, name: str, value: str) -> None:
        self.headers[name] = value

    def Redirect(self, location: str) -> None:
        self.status, self.location = 301, location


class OldOutput(Output):
    """The same as the Python plugin 4 has it."""

    def SendHttpStatus(self, status: int, body: str, size: int) -> None:
        assert size == len(body.encode())
        super().SendHttpStatus(status, body)


class OrthancModule:
    """The calls that this package makes."""

    OrthancException = OrthancException

    class MetricsType:
        DEFAULT = 0

    class ChangeType:
        ORTHANC_STARTED, ORTHANC_STOPPED, STABLE_STUDY = range(3)

    def __init__(self, orthanc: Orthanc) -> None:
        self._orthanc = orthanc
        self.arguments = ["--verbose", str(orthanc.configuration_file)]
        self.log: list[tuple[str, str]] = []
        self.metrics: dict[str, float] = {}
        self.routes: dict[str, Any] = {}

    def GetConfiguration(self) -> str:
        return self._orthanc.configuration_file.read_text()

    def GetCommandLineArgumentsCount(self) -> int:
        return len(self.arguments)

    def GetCommandLineArgument(self, number: int) -> str:
        return self.arguments[number]

    def GenerateRestApiAuthorizationToken(self) -> str:
        return "Bearer of-orthanc"

    def RestApiGet(self, path: str) -> bytes:
        return self._call("GET", path)

    def RestApiGetAfterPlugins(self, path: str) -> bytes:
        return self._call("GET", path)

    def RestApiPutAfterPlugins(self, path: str, body: str) -> None:
        self._call("PUT", path, body.encode())

    def RestApiDeleteAfterPlugins(self, path: str) -> None:
        self._call("DELETE", path)

    def SetMetricsValue(self, name: str, value: float, _kind: int) -> None:
        (kept,) = struct.unpack("f", struct.pack("f", value))
        self.metrics[name] = float(f"{kept:.9g}")

    def RegisterRestCallback(self, route: str, callback: Any) -> None:
        self.routes[route] = callback

    def LogInfo(self, text: str) -> None:
        self.log.append(("I", text))

    def LogWarning(self, text: str) -> None:
        self.log.append(("W", text))

    def LogError(self, text: str) -> None:
        self.log.append(("E", text))

    def _call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        answer = self._orthanc.request(method, path, body)
        if answer.status != 200:
            words = json.loads(answer.data or b"{}").get("OrthancError", "Unknown resource")
            raise OrthancException(17, words)
        return answer.data
