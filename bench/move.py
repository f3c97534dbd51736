"""C-MOVE from a store by the gateway, beside Orthanc's own C-MOVE of the same images."""

from __future__ import annotations

import http.client
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3

from bench.frame import Figure, Goal, Measurement, Round
from bench.machine import peak_memory_mb
from bench.workload import BOUNDARY, Load, Workload, prepare
from tests.gateway.scu import PATIENT_ROOT, keys, move
from tests.support.emulator import STORE_PATH, Emulator
from tests.support.gateway import GatewayProcess, wait_for_echo
from tests.support.orthanc import Orthanc, free_port

__all__ = ["measurements"]

LARGE, SMALL = Workload(1, 500, 512 * 1024), Workload(1, 500, 10_000)
ORTHANC, NODELAY = "Orthanc's C-MOVE", "Orthanc's C-MOVE, TCP_NODELAY=1"
GATEWAY = "orthanc-gcp gateway"
PATIENT = "000000"
"""The only one of a workload of one study."""
Destination = Callable[[Path, int], AbstractContextManager[None]]
"""A folder and a port -> what listens there."""
EACH = Figure("each", "C-MOVE, for an instance", "ms", 1)
MEMORY = Figure("memory", "Peak memory of the gateway", "MB")


def measurements(folder: Path) -> Iterator[Measurement]:
    """To DCMTK's storescp, and to another Orthanc."""
    rows = (
        ("move-large", "500 instances of 512 KiB to storescp", LARGE, _storescp, (1 / 6, 0.7)),
        ("move-small", "500 instances of 10 KB to Orthanc", SMALL, _orthanc, (1 / 6, 0.8)),
    )
    for name, title, workload, destination, (most, most_nodelay) in rows:
        place = folder / name
        load = prepare(workload, place / "load", body=True)
        yield Measurement(
            name,
            f"C-MOVE: {title}",
            [ORTHANC, NODELAY, GATEWAY],
            (EACH, MEMORY),
            partial(_round, place, load, destination),
            pairs=3,
            goals=(
                Goal("each", GATEWAY, most, "times", (ORTHANC,)),
                Goal("each", GATEWAY, most_nodelay, "times", (NODELAY,)),
            ),
        )


def _round(place: Path, load: Load, destination: Destination, order: Sequence[str]) -> Round:
    taken: Round = {}
    for subject in order:
        with ExitStack() as stack:
            port = free_port()
            folder = place / f"{time.monotonic_ns()}"
            folder.mkdir()
            stack.enter_context(destination(folder / "to", port))
            modalities: dict[str, Any] = {"dest": ["DEST", "127.0.0.1", port]}
            if subject == GATEWAY:
                gateway, asked = stack.enter_context(_gateway(folder, load, modalities))
            else:
                environment = {"TCP_NODELAY": "1"} if subject == NODELAY else {}
                asked = stack.enter_context(_sender(folder, load, modalities, environment))
            began = time.monotonic()
            status, _, _ = move(asked, keys("PATIENT", PatientID=PATIENT), model=PATIENT_ROOT)
            seconds = time.monotonic() - began
            if status.Status != 0:
                raise RuntimeError(f"{subject}: the C-MOVE ended with {status.Status:04X}")
            taken[subject] = {"each": 1000 * seconds / load.total}
            if subject == GATEWAY:
                taken[subject]["memory"] = peak_memory_mb(gateway)
    return taken


@contextmanager
def _gateway(folder: Path, load: Load, modalities: dict[str, Any]) -> Iterator[tuple[int, int]]:
    """Process and port of a gateway before a store that has everything."""
    with ExitStack() as stack:
        (folder / "store").mkdir()
        emulator = Emulator(folder / "store")
        stack.callback(emulator.stop)
        _fill(emulator, load)
        gateway = stack.enter_context(GatewayProcess(folder, emulator, modalities))
        yield gateway.pid, gateway.port


def _fill(emulator: Emulator, load: Load) -> None:
    if load.body is None:
        raise ValueError("a load without a body")
    address = urlsplit(emulator.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=600)
    kind = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
    with load.body.open("rb") as body:
        headers = {
            **emulator.bearer(),
            "Content-Type": kind,
            "Content-Length": str(load.body.stat().st_size),
        }
        connection.request("POST", f"/v1/{STORE_PATH}/dicomWeb/studies", body, headers)
        answer = connection.getresponse()
        if answer.read() is None or answer.status != http.client.OK:
            raise RuntimeError(f"the store refused the load: {answer.status}")
    connection.close()


@contextmanager
def _sender(
    folder: Path, load: Load, modalities: dict[str, Any], environment: dict[str, str]
) -> Iterator[int]:
    """The DICOM port of an Orthanc that has everything."""
    load.copy(folder)
    port = free_port()
    options = {
        "DicomServerEnabled": True,
        "DicomPort": port,
        "DicomModalities": modalities,
        "DicomAlwaysAllowMove": True,
    }
    with Orthanc(folder, options, plugins=(), environment=environment):
        yield port


@contextmanager
def _storescp(_folder: Path, port: int) -> Iterator[None]:
    with subprocess.Popen(["storescp", "--ignore", str(port)]) as process:
        try:
            wait_for_echo(port)
            yield
        finally:
            process.terminate()


@contextmanager
def _orthanc(folder: Path, port: int) -> Iterator[None]:
    options = {"DicomServerEnabled": True, "DicomPort": port, "DicomAlwaysAllowStore": True}
    with Orthanc(folder, options, plugins=()) as orthanc:
        yield
        found = urllib3.request("GET", f"{orthanc.url}/statistics").json()
        if not found["CountInstances"]:
            raise RuntimeError("nothing has arrived")
