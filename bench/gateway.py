"""What the gateway adds to the searches below a C-FIND and a C-MOVE."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import urllib3
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association

from bench.frame import Figure, Figures, Goal, Measurement, Round
from bench.move import GATEWAY
from bench.move import SMALL as MOVED
from bench.supply import Stored, fill
from bench.workload import Workload
from tests.gateway.scu import MOVE, STUDY_ROOT, associate, keys
from tests.support.emulator import STORE_PATH, Emulator
from tests.support.gateway import GatewayProcess
from tests.support.orthanc import free_port

__all__ = ["measurements"]

SEARCH = "the plain search"
STUDIES = Workload(100, 1, 1000)
TRIES = 5
"""Of each, one after the other; the median of them counts."""
LIMIT = 1000
FIELDS = ("StudyDate", "AccessionNumber", "StudyInstanceUID", "PatientID", "PatientName")

FIRST = Figure("first", "A C-MOVE of 500 instances, to the first C-STORE", "ms", 1)
ONE = Figure("one", "C-FIND of one study", "ms", 1)
MANY = Figure("many", f"C-FIND of {STUDIES.studies} studies", "ms", 1)
Timed = Callable[[], float]
"""Does something once; the seconds it took."""


def measurements(folder: Path) -> Iterator[Measurement]:
    """The first instance of a C-MOVE, and a C-FIND of one study and of many."""
    further = STUDIES.studies - 1
    goals = (Goal("one", GATEWAY, 50), Goal("many", GATEWAY, 50 + further))
    rows = (
        (
            "move-first",
            "The first C-STORE",
            MOVED,
            _first,
            (FIRST,),
            (Goal("first", GATEWAY, 100),),
        ),
        ("find", "C-FIND", STUDIES, _find, (ONE, MANY), goals),
    )
    for name, title, workload, take, figures, aims in rows:
        subjects = [SEARCH, GATEWAY]
        with _store(folder / name, workload) as (emulator, stored):
            taken = partial(take, folder / name, emulator, stored)
            yield Measurement(name, title, subjects, figures, taken, pairs=3, goals=aims)


@contextmanager
def _store(folder: Path, workload: Workload) -> Iterator[tuple[Emulator, list[Stored]]]:
    (folder / "store").mkdir(parents=True)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        emulator = Emulator(folder / "store")
        stack.callback(emulator.kill)
        yield emulator, fill(emulator, workload)


def _first(
    folder: Path, emulator: Emulator, stored: Sequence[Stored], order: Sequence[str]
) -> Round:
    """Both have had their token and a connection before."""
    study = stored[0].study
    with ExitStack() as stack:
        destination = stack.enter_context(Destination())
        modalities = {"dest": ["DEST", "127.0.0.1", destination.port]}
        association = stack.enter_context(_workstation(folder, emulator, modalities))
        identifier = keys("STUDY", StudyInstanceUID=study)
        move = partial(_moved, association, identifier, destination, len(stored))
        search = _search_of(emulator, f"studies/{study}/instances", len(stored))
        return _medians(order, {SEARCH: {"first": search}, GATEWAY: {"first": move}})


def _find(
    folder: Path, emulator: Emulator, stored: Sequence[Stored], order: Sequence[str]
) -> Round:
    study = stored[0].study
    with _workstation(folder, emulator, {}) as association:
        fields = dict.fromkeys(FIELDS, "")
        every = keys("STUDY", **fields)
        single = keys("STUDY", **{**fields, "StudyInstanceUID": study})
        searches = {
            "one": _search_of(emulator, f"studies?StudyInstanceUID={study}", 1),
            "many": _search_of(emulator, "studies", len(stored)),
        }
        finds = {
            "one": partial(_found, association, single, 1),
            "many": partial(_found, association, every, len(stored)),
        }
        return _medians(order, {SEARCH: searches, GATEWAY: finds})


def _medians(order: Sequence[str], timed: dict[str, dict[str, Timed]]) -> Round:
    """The median of some tries of each, in milliseconds, after one that does not count."""
    taken: Round = {}
    for subject in order:
        figures: Figures = {}
        for key, once in timed[subject].items():
            once()
            figures[key] = 1000 * median(once() for _ in range(TRIES))
        taken[subject] = figures
    return taken


def _search_of(emulator: Emulator, path: str, expected: int) -> Timed:
    """A search of DICOMweb on one connection, read to its end."""
    pool = urllib3.PoolManager(retries=False)
    url = f"{emulator.url}/v1/{STORE_PATH}/dicomWeb/{path}"
    headers = {**emulator.bearer(), "Accept": "application/dicom+json"}
    url += f"{'&' if '?' in url else '?'}limit={LIMIT}"

    def search() -> float:
        began = time.monotonic()
        found = pool.request("GET", url, headers=headers).json()
        seconds = time.monotonic() - began
        _expect(len(found), expected)
        return seconds

    return search


def _found(association: Association, identifier: Dataset, expected: int) -> float:
    """A C-FIND, until its last answer has come."""
    began = time.monotonic()
    answers = [status.Status for status, _ in association.send_c_find(identifier, STUDY_ROOT)]
    seconds = time.monotonic() - began
    _expect(answers.pop(), 0)
    _expect(len(answers), expected)
    return seconds


def _moved(
    association: Association, identifier: Dataset, destination: Destination, expected: int
) -> float:
    """A C-MOVE, until the first instance has come; it is waited for the others."""
    destination.begin()
    began = time.monotonic()
    answers = [
        status.Status for status, _ in association.send_c_move(identifier, "DEST", MOVE[STUDY_ROOT])
    ]
    _expect(answers[-1], 0)
    _expect(destination.received, expected)
    return destination.first - began


def _expect(found: int, expected: int) -> None:
    if found != expected:
        raise RuntimeError(f"{found} instead of {expected}")


@contextmanager
def _workstation(
    folder: Path, emulator: Emulator, modalities: dict[str, Any]
) -> Iterator[Association]:
    """An association with a gateway before the store."""
    with GatewayProcess(folder, emulator, modalities) as gateway:
        association = associate(gateway.port)
        if not association.is_established:
            raise RuntimeError("the gateway accepts no association")
        try:
            yield association
        finally:
            association.release()


class Destination:
    """A modality that receives: when it had the first instance of a C-MOVE, and how many."""

    def __init__(self) -> None:
        self.port = free_port()
        self._lock = threading.Lock()
        self.begin()

    def begin(self) -> None:
        """Forget what came before."""
        self.first, self.received = 0.0, 0

    def __enter__(self) -> Destination:
        entity = ApplicationEntity(ae_title="DEST")
        entity.add_supported_context(SecondaryCaptureImageStorage, ExplicitVRLittleEndian)
        handlers = [(evt.EVT_C_STORE, self._store)]
        self._server = entity.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=handlers
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()

    def _store(self, _event: evt.Event) -> int:
        with self._lock:
            self.received += 1
            if self.received == 1:
                self.first = time.monotonic()
        return 0
