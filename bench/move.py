"""C-MOVE from a store by the gateway, beside Orthanc's own C-MOVE of as many as large.

A proxy that moves instance by instance, as dicom-dicomweb-proxy does, takes half a second for each:
it is given fewer of the same size, and what counts is the time for one.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import urllib3

from bench.contenders import SERVER
from bench.frame import Figure, Goal, Measurement, Round
from bench.machine import peak_memory_mb
from bench.supply import fill
from bench.workload import Load, Workload, prepare
from tests.gateway.scu import keys, move
from tests.support.emulator import STORE_PATH, Emulator
from tests.support.gateway import GatewayProcess, wait_for_echo
from tests.support.orthanc import DICOMWEB, PYTHON, Orthanc, free_port

__all__ = ["measurements"]

LARGE, SMALL = Workload(1, 500, 512 * 1024), Workload(1, 500, 10_000)
FEWER = 10
"""Times fewer instances are moved by the proxy."""
ORTHANC, NODELAY = "Orthanc's C-MOVE", "Orthanc's C-MOVE, TCP_NODELAY=1"
PROXY, GATEWAY = "instance by instance, a tenth of them", "orthanc-gcp gateway"
SCRIPT = Path(__file__).with_name("peers") / "instance_by_instance.py"
Destination = Callable[[Path, int], AbstractContextManager[None]]
"""A folder and a port -> what listens there."""
EACH = Figure("each", "C-MOVE, for an instance", "ms", 1)
MEMORY = Figure("memory", "Peak memory of the gateway", "MB")


@dataclass(frozen=True)
class Row:
    """What is moved, and where to; and how much of each other subject's time the gateway may need.

    Attributes
    ----------
    goals
        The other subjects, the baseline first.
    """

    name: str
    title: str
    workload: Workload
    destination: Destination
    goals: Mapping[str, float]


@dataclass(frozen=True)
class Asked:
    """A provider of C-MOVE.

    Attributes
    ----------
    pid
        Of the gateway; None for others.
    """

    port: int
    study: str
    instances: int
    pid: int | None = None


def measurements(folder: Path, scale: float = 1.0) -> Iterator[Measurement]:
    """To DCMTK's storescp, and to another Orthanc."""
    rows = (
        Row(
            "move-large",
            "500 instances of 512 KiB to storescp",
            LARGE,
            _storescp,
            {ORTHANC: 1 / 6, NODELAY: 0.7, PROXY: 1 / 40},
        ),
        Row(
            "move-small",
            "500 instances of 10 KB to Orthanc",
            SMALL,
            _orthanc,
            {ORTHANC: 1 / 6, NODELAY: 0.8},
        ),
    )
    for row in rows:
        place = folder / row.name
        workload = row.workload.scaled(scale)
        load = prepare(workload, place / "load", body=False)
        yield Measurement(
            row.name,
            f"C-MOVE: {row.title}",
            [*row.goals, GATEWAY],
            (EACH, MEMORY),
            partial(_round, place, load, workload, row.destination),
            pairs=3,
            goals=tuple(
                Goal("each", GATEWAY, most, "times", (other,)) for other, most in row.goals.items()
            ),
        )


def _round(
    place: Path, load: Load, workload: Workload, destination: Destination, order: Sequence[str]
) -> Round:
    taken: Round = {}
    for subject in order:
        with ExitStack() as stack:
            port = free_port()
            folder = place / f"{time.monotonic_ns()}"
            folder.mkdir()
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            stack.enter_context(destination(folder / "to", port))
            modalities: dict[str, Any] = {"dest": ["DEST", "127.0.0.1", port]}
            asked = stack.enter_context(_provider(subject, folder, load, workload, modalities))
            identifier = keys("STUDY", StudyInstanceUID=asked.study)
            began = time.monotonic()
            status, _, _ = move(asked.port, identifier)
            seconds = time.monotonic() - began
            if status.Status != 0:
                raise RuntimeError(f"{subject}: the C-MOVE ended with {status.Status:04X}")
            moved = 1 if subject == PROXY else asked.instances  # the callback moves them all
            if status.NumberOfCompletedSuboperations != moved:
                raise RuntimeError(f"{subject}: not all were moved")
            taken[subject] = {"each": 1000 * seconds / asked.instances}
            if asked.pid is not None:
                taken[subject]["memory"] = peak_memory_mb(asked.pid)
    return taken


def _provider(
    subject: str, folder: Path, load: Load, workload: Workload, modalities: dict[str, Any]
) -> AbstractContextManager[Asked]:
    if subject == GATEWAY:
        return _gateway(folder, workload, modalities)
    if subject == PROXY:
        return _proxy(folder, workload.scaled(1 / FEWER), modalities)
    environment = {"TCP_NODELAY": "1"} if subject == NODELAY else {}
    return _sender(folder, load, modalities, environment)


@contextmanager
def _gateway(folder: Path, workload: Workload, modalities: dict[str, Any]) -> Iterator[Asked]:
    """A gateway before a store that has everything."""
    with (
        _store(folder, workload) as (emulator, study),
        GatewayProcess(folder, emulator, modalities) as gateway,
    ):
        yield Asked(gateway.port, study, workload.total, gateway.pid)


@contextmanager
def _proxy(folder: Path, workload: Workload, modalities: dict[str, Any]) -> Iterator[Asked]:
    """A proxy that moves instance by instance, before a store that has everything."""
    with _store(folder, workload) as (emulator, study):
        port = free_port()
        server = {
            "Url": f"{emulator.url}/v1/{STORE_PATH}/dicomWeb",
            "HttpHeaders": emulator.bearer(),
        }
        options = {**_scp(port, modalities), "DicomWeb": {"Servers": {SERVER: server}}}
        script = SCRIPT.read_text()
        with Orthanc(folder, options, plugins=(DICOMWEB, PYTHON), python_script=script):
            yield Asked(port, study, workload.total)


@contextmanager
def _store(folder: Path, workload: Workload) -> Iterator[tuple[Emulator, str]]:
    """A store that has everything, and the UID of its study."""
    (folder / "store").mkdir()
    emulator = Emulator(folder / "store")
    try:
        yield emulator, fill(emulator, workload)[0].study
    finally:
        emulator.stop()


@contextmanager
def _sender(
    folder: Path, load: Load, modalities: dict[str, Any], environment: dict[str, str]
) -> Iterator[Asked]:
    """An Orthanc that has everything."""
    load.copy(folder)
    port = free_port()
    options = _scp(port, modalities)
    with Orthanc(folder, options, plugins=(), environment=environment) as orthanc:
        (study,) = orthanc.json("GET", "/studies?expand")
        yield Asked(port, study["MainDicomTags"]["StudyInstanceUID"], load.total)


def _scp(port: int, modalities: dict[str, Any]) -> dict[str, Any]:
    return {
        "DicomServerEnabled": True,
        "DicomPort": port,
        "DicomModalities": modalities,
        "DicomAlwaysAllowMove": True,
    }


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
