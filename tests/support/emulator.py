"""The emulator in a process of its own."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import urllib3

_HTTP = urllib3.PoolManager(retries=False, cert_reqs="CERT_NONE")
STORE_PATH = "projects/osimis-test/locations/europe-west2/datasets/test/dicomStores/dicom"


class Emulator:
    """``orthanc-gcp emulator`` over a folder, which outlives the process."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.credentials = folder / "credentials"
        self._arguments = arguments
        self._process: subprocess.Popen[str] | None = None
        self.port = 0
        self.url = ""
        self.start()

    def start(self) -> None:
        """Start, or start again on the same port."""
        command = [
            *(sys.executable, "-m", "orthanc_gcp", "emulator"),
            *("--port", str(self.port), "--directory", str(self.folder)),
            *("--write-credentials", str(self.credentials), *self._arguments),
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        found = re.search(r"https?://[\d.]+:(\d+)", line)
        assert found, f"the emulator did not start: {line}"
        self.url, self.port = found[0], int(found[1])

    def switch(self, **state: Any) -> None:
        """Set switches of an emulator that was started with ``--admin``."""
        answer = _HTTP.request("PATCH", f"{self.url}/emulator/state", json=state)
        assert answer.status == 200, answer.data

    def switches(self) -> dict[str, Any]:
        """The state of the switches."""
        return _HTTP.request("GET", f"{self.url}/emulator/state").json()

    def bearer(self) -> dict[str, str]:
        """A header with an access token of the user."""
        fields = {"grant_type": "refresh_token", **self.user}
        answer = _HTTP.request("POST", self.token_uri, fields=fields, encode_multipart=False)
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """A call of the API by the user; the answer's JSON."""
        url = f"{self.url}/v1/{path}"
        answer = _HTTP.request(method, url, json=body, headers=self.bearer())
        assert answer.status == 200, answer.data
        return answer.json()

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(20)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def token_uri(self) -> str:
        return f"{self.url}/token"

    @property
    def user(self) -> dict[str, str]:
        return json.loads((self.credentials / "authorized-user.json").read_text())
