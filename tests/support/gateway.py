"""The gateway in a process of its own, before the emulator's store."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.gateway.scu import associate
from tests.support.emulator import STORE_PATH, Emulator
from tests.support.orthanc import free_port

__all__ = ["GatewayProcess", "wait_for_echo"]


class GatewayProcess:
    """``orthanc-gcp gateway``, called GOOGLE, which knows some modalities."""

    def __init__(self, folder: Path, emulator: Emulator, modalities: dict[str, Any]) -> None:
        names = ("Project", "Location", "Dataset", "DicomStore")
        account = dict(zip(names, STORE_PATH.split("/")[1::2], strict=True))
        account["ServiceAccountFile"] = str(emulator.credentials / "service-account.json")
        self.port = free_port()
        section = {
            "BaseUrl": f"{emulator.url}/v1/",
            "Accounts": {"google": account},
            "Gateway": {"Aets": {"GOOGLE": "google"}, "Port": self.port},
        }
        known = {"ws": ["WORKSTATION", "127.0.0.1", 104], **modalities}
        file = folder / "gateway.json"
        file.write_text(json.dumps({"DicomModalities": known, "GoogleCloudPlatform": section}))
        command = [sys.executable, "-m", "orthanc_gcp", "gateway", str(file)]
        self._process = subprocess.Popen(command)
        wait_for_echo(self.port)

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> GatewayProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        finally:
            self._process.kill()
            self._process.wait()


def wait_for_echo(port: int) -> None:
    """Wait until something on a port accepts an association."""
    deadline = time.monotonic() + 30
    while True:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            break
        assert time.monotonic() < deadline, f"nobody answers on port {port}"
        time.sleep(0.1)
    association = associate(port)
    assert association.is_established
    association.release()
