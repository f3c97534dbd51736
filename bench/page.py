"""The page in Orthanc over a large ledger: what opening it costs, and what it costs while open."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import mean, median
from urllib.parse import quote

import urllib3

from bench.frame import Figure, Figures, Goal, Measurement, Round
from bench.ledger import ACCOUNT, BACKLOG, fill
from bench.machine import cpu_seconds, descendants
from orthanc_gcp.ledger import database
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.upgrade import prepare
from orthanc_gcp.plugin.page.serving import FILES
from tests.support.emulator import Emulator
from tests.support.keys import STORE
from tests.support.orthanc import Orthanc, wait_until

__all__ = ["measurement"]

ROWS = (10_000, 1_000_000)
OPENED, APART = 7, 7.0
"""So many times it is opened, and seconds from one time to the next: figures are not fresh then."""
WINDOWS, IDLE = 2, 60.0
"""So many times it is open, and is not, for so many seconds: rows are counted once in these."""
EVERY = 5.0
"""Seconds after which page.js asks again."""
SETTLE = 20.0
_OF_A_LANGUAGE = ("de.json", "fr.json")

PAINT = Figure("paint", "Time of all answers until the overview is drawn, median", "ms", 1)
LONGEST = Figure("longest", "Time of all answers until the overview is drawn, longest", "ms", 1)
OPEN = Figure("open", "Processor time that it takes while it is open", "% of a core", 2)
ALONE = Figure("alone", "Processor time of that Orthanc and its worker", "% of a core", 2)


def measurement(folder: Path) -> Measurement:
    """An Orthanc with a ledger of each size, one after the other."""
    subjects = [f"{rows:,} rows" for rows in ROWS]

    def taken(order: Sequence[str]) -> Round:
        return {name: _figures(folder / name, ROWS[subjects.index(name)]) for name in order}

    goals = (Goal("paint", subjects[-1], 300, "value"), Goal("open", subjects[-1], 0.2, "value"))
    return Measurement(
        "page",
        "The page in Orthanc",
        subjects,
        (PAINT, LONGEST, OPEN, ALONE),
        taken,
        pairs=1,
        goals=goals,
    )


def _figures(folder: Path, rows: int) -> Figures:
    with _site(folder, rows) as orthanc:
        time.sleep(SETTLE)
        times = list(_openings(orthanc))
        shares: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(WINDOWS):  # in turn: whatever else the machine does hits both
            for polls, taken in shares.items():
                taken.append(_cpu(orthanc, polls=polls))
        without, with_it = (mean(shares[polls]) for polls in (False, True))
    return {
        "paint": median(times) * 1000,
        "longest": max(times) * 1000,
        "open": max(0.0, with_it - without) * 100,
        "alone": without * 100,
    }


@contextmanager
def _site(folder: Path, rows: int) -> Iterator[Orthanc]:
    """An Orthanc whose worker has a ledger of so many rows, of an index that is gone."""
    storage = folder / "orthanc" / "storage"
    storage.mkdir(parents=True)
    engine = database.connect(database.url_of("", storage))
    prepare(engine)
    fill(Ledger(engine), 0, rows)
    engine.dispose()
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        emulator = Emulator(folder / "emulator")
        stack.callback(emulator.kill)
        file = str(emulator.credentials / "service-account.json")
        account = {**STORE, "ServiceAccountFile": file}
        section = {
            "BaseUrl": f"{emulator.url}/v1beta1/",
            "Accounts": {ACCOUNT: account, BACKLOG: account},
            "Send": [{"To": ACCOUNT}],
        }
        orthanc = Orthanc(folder / "orthanc", {"GoogleCloudPlatform": section})
        with orthanc:
            wait_until(lambda: orthanc.request("GET", "/gcp/transfers").status == 200, 120)
            yield orthanc


def _openings(orthanc: Orthanc) -> Iterator[float]:
    """The seconds that Orthanc takes for all that the page asks before the overview stands."""
    for _ in range(OPENED):
        time.sleep(APART)
        with urllib3.connection_from_url(orthanc.url) as pool:
            began = time.perf_counter()
            for name in FILES:
                if name not in _OF_A_LANGUAGE:
                    _ask(pool, f"/gcp/app/{name}")
            _overview(pool, with_history=True)
            yield time.perf_counter() - began


def _overview(pool: urllib3.HTTPConnectionPool, *, with_history: bool) -> None:
    """What the view asks; the history less often than the rest."""
    _ask(pool, "/gcp/accounts")
    _ask(pool, "/gcp/transfers")
    if with_history:
        for account in (ACCOUNT, BACKLOG):
            _ask(pool, f"/gcp/accounts/{quote(account)}/history")


def _ask(pool: urllib3.HTTPConnectionPool, path: str) -> None:
    answer = pool.request("GET", path, headers={"Accept-Encoding": "identity"}, retries=False)
    assert answer.status == 200, (path, answer.status, answer.data)


def _cpu(orthanc: Orthanc, *, polls: bool) -> float:
    """What share of a core Orthanc and its worker take, while the page asks or does not."""
    processes = [orthanc.pid, *descendants(orthanc.pid)]
    before, began = sum(map(cpu_seconds, processes)), time.monotonic()
    with urllib3.connection_from_url(orthanc.url) as pool:
        rounds = 0
        while (passed := time.monotonic() - began) < IDLE:
            if polls:
                _overview(pool, with_history=rounds % 12 == 0)
            rounds += 1
            time.sleep(max(0.0, min(EVERY * rounds, IDLE) - passed))
    return (sum(map(cpu_seconds, processes)) - before) / (time.monotonic() - began)
