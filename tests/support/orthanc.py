"""A real Orthanc for a test: its own folder, a free port, killed by its own pid."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import urllib3

from orthanc_gcp.plugin import script

EXECUTABLE = "/usr/sbin/Orthanc"
PLUGINS = Path("/usr/share/orthanc/plugins")
DICOMWEB, PYTHON = PLUGINS / "libOrthancDicomWeb.so", PLUGINS / "libOrthancPython.so"


_WORKER = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or 0)
# Below the ports that the kernel hands out by itself, and apart for tests that run side by side.
_PORTS = itertools.cycle(range(20000 + 2000 * _WORKER, 22000 + 2000 * _WORKER))


def free_port() -> int:
    """A port that nobody listens on, and that nobody will be given by chance."""
    while True:
        port = next(_PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


# Orthanc ends idle connections, maybe just when one is used again.
_AGAIN = urllib3.Retry(
    read=1,
    connect=0,
    redirect=0,
    status=0,
    other=0,
    raise_on_redirect=False,
    respect_retry_after_header=False,
)


class Orthanc:
    """Starts Orthanc under a configuration; everything lies in one folder."""

    def __init__(
        self,
        folder: Path,
        configuration: dict[str, Any],
        *,
        plugins: tuple[Path, ...] = (DICOMWEB, PYTHON),
        python_script: str | None = None,
        environment: dict[str, str] | None = None,
        arguments: tuple[str, ...] = (),
        executable: str = EXECUTABLE,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_file = folder / "orthanc.log"
        self._http = urllib3.PoolManager(timeout=60, retries=False)
        self._environment = {**os.environ, **(environment or {})}
        self._command = [executable, *arguments]
        self._authorization: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        script_file = folder / "orthanc_gcp_script.py"
        script_file.write_text(script.text() if python_script is None else python_script)
        self.configuration_file = folder / "orthanc.json"
        self.configuration_file.write_text(
            json.dumps(
                {
                    "Name": "test",
                    "StorageDirectory": str(folder / "storage"),
                    "IndexDirectory": str(folder / "storage"),
                    "HttpPort": self.port,
                    "DicomServerEnabled": False,
                    "AuthenticationEnabled": False,
                    "StableAge": 1,
                    "Plugins": [str(plugin) for plugin in plugins],
                    "PythonScript": str(script_file),
                    **configuration,
                }
            )
        )

    def __enter__(self) -> Orthanc:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, wait: float = 30) -> None:
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, str(self.configuration_file)],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=self._environment,
            )
        deadline = time.monotonic() + wait
        while not self.answers():
            assert self._process.poll() is None, f"Orthanc has died:\n{self.log}"
            assert time.monotonic() < deadline, f"Orthanc does not answer:\n{self.log}"
            time.sleep(0.02)

    def stop(self, wait: float = 30) -> tuple[float, int]:
        """How long it took to stop, and the exit code."""
        process = self._process
        if process is None:
            return 0.0, 0
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        try:
            while (code := process.poll()) is None:
                if time.monotonic() > began + wait:
                    process.kill()
                    process.wait()
                    raise AssertionError(f"Orthanc does not stop:\n{self.log}")
                self._knock()
                time.sleep(0.05)
        finally:
            self._process = None
            self._http.clear()
        return time.monotonic() - began, code

    def _knock(self) -> None:
        """Its server waits two seconds for the next connection before it sees that it is over."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            pass

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def add_environment(self, variables: dict[str, str]) -> None:
        """Variables for the next start."""
        self._environment |= variables

    def authenticate(self, user: str, password: str) -> None:
        """Send these with each request from now on."""
        self._authorization = dict(urllib3.make_headers(basic_auth=f"{user}:{password}"))

    def answers(self) -> bool:
        try:
            return self.request("GET", "/system").status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def request(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> urllib3.BaseHTTPResponse:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        headers = {"Accept-Encoding": "identity", **self._authorization, **headers}
        retries = _AGAIN if method == "GET" else False
        url = self.url + path
        try:
            return self._http.request(method, url, body=data, headers=headers, retries=retries)
        except urllib3.exceptions.ProtocolError:
            if path != "/instances":  # which may be stored twice, if it was at all
                raise
            # Orthanc had closed a connection that was idle.
            return self._http.request(method, url, body=data, headers=headers, retries=False)

    def json(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.request(method, path, body)
        assert answer.status == 200, f"{method} {path}: {answer.status} {answer.data!r}"
        return json.loads(answer.data)

    def servers(self) -> dict[str, Any]:
        return self.json("GET", "/dicom-web/servers?expand")

    def wait_for_log(self, text: str, wait: float = 20) -> None:
        wait_until(lambda: text in self.log, wait, lambda: f"{text!r} is not in:\n{self.log}")

    def wait_for_servers(self, *names: str, wait: float = 20) -> None:
        wait_until(
            lambda: set(names) <= set(self.json("GET", "/dicom-web/servers")),
            wait,
            lambda: f"{names} are not published:\n{self.log}",
        )


def wait_until(
    condition: Any, wait: float = 20, message: Any = lambda: "it did not happen"
) -> None:
    deadline = time.monotonic() + wait
    while not condition():
        assert time.monotonic() < deadline, message()
        time.sleep(0.05)
