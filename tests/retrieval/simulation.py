"""A store and an Orthanc that lie, lose, refuse and break off as a test wants it; a retriever."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from itertools import chain
from types import SimpleNamespace
from typing import Any

from orthanc_gcp.errors import OrthancError, OrthancUnavailableError, StoreError
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.retrievals.rows import Resource, RetrievalReport
from orthanc_gcp.orthanc.resources import Description
from orthanc_gcp.outages import Outage
from orthanc_gcp.reasons import StoreReason
from orthanc_gcp.retrieval.conditions import Conditions
from orthanc_gcp.retrieval.remote import Pace, RemoteStore
from orthanc_gcp.retrieval.retriever import Retriever
from tests.support.ledgers import ORTHANC, A, Time
from tests.support.sent import dataset
from tests.support.simulation import FakeClock

Uids = tuple[str, str, str]
B = "another account"
TAGS = ("0020000D", "0020000E", "00080018")
NOT_FOUND = StoreError("no such thing", reason=StoreReason.NOT_FOUND, status=404)
AWAY = StoreError("away", reason=StoreReason.UNAVAILABLE, status=503, retryable=True)


def uids_of(file: bytes) -> Uids:
    one = dataset(file)
    return str(one.StudyInstanceUID), str(one.SeriesInstanceUID), str(one.SOPInstanceUID)


class Store:
    """A client of a store.

    Attributes
    ----------
    listing
        What it lists; None for what it has.
    on_request
        Called before each request, with its kind and UIDs: it may raise.
    """

    def __init__(self, *files: bytes) -> None:
        self.files = {uids_of(file): file for file in files}
        self.listing: list[Uids] | None = None
        self.on_request: Callable[..., None] = lambda *_: None
        self.requests: Counter[str] = Counter()

    def _ask(self, kind: str, *uids: str | None) -> None:
        self.requests[kind] += 1
        self.on_request(kind, *uids)

    def search(
        self, _path: str, parameters: dict[str, str], *, depth: int, page: int = 1000
    ) -> Any:
        self._ask("search" if depth == 3 else "probe")
        assert page == (1000 if depth == 3 else 1)
        wanted = [parameters.get(tag) for tag in TAGS]
        for uids in self.listing if self.listing is not None else list(self.files):
            if all(one in (None, uid) for one, uid in zip(wanted, uids, strict=True)):
                yield {tag: {"Value": [uid]} for tag, uid in zip(TAGS, uids, strict=True)}

    @contextmanager
    def open(self, *uids: str) -> Any:
        self._ask("open", *uids)
        if uids not in self.files:
            raise NOT_FOUND
        yield iter([self.files[uids]])

    @contextmanager
    def retrieve(self, study: str, series: str | None = None) -> Any:
        self._ask("retrieve", study, series)
        yield (
            iter([file])
            for uids, file in list(self.files.items())
            if uids[0] == study and series in (None, uids[1])
        )


class Orthanc:
    """Both Orthanc's REST API and what is read from it.

    Attributes
    ----------
    on_upload
        Called with each file, before it is stored; what it returns is answered.
    on_stored
        Called with the identifier of each file that was stored.
    overwrites
        Whether a file takes the place of the one that it has.
    limit
        So many matches of a query it gives at most.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.on_upload: Callable[[bytes], Any] = lambda _: None
        self.on_stored: Callable[[str], None] = lambda _: None
        self.checksums = self
        self.away = self.overwrites = False
        self.uploads = self.queries = self.descriptions = 0
        self.limit: int | None = None

    def upload(self, _path: str, pieces: Any) -> tuple[int, Any]:
        file = pieces if isinstance(pieces, bytes) else b"".join(pieces)
        self._answers()
        self.uploads += 1
        if (answer := self.on_upload(file)) is not None:
            return answer
        name = hashlib.sha1("|".join(uids_of(file)).encode()).hexdigest()
        is_new = self.overwrites or name not in self.files
        status = "Success" if is_new else "AlreadyStored"
        self.files[name] = file if is_new else self.files[name]
        self.on_stored(name)
        return 200, {"ID": name, "Status": status}

    def upload_each(self, path: str, bodies: Any) -> Any:
        answer = self._look_up if path == "/tools/lookup" else partial(self.upload, path)
        return map(answer, bodies)

    def _look_up(self, uid: bytes) -> tuple[int, Any]:
        self._answers()
        names = [name for name, file in self.files.items() if uid.decode() in uids_of(file)]
        levels = ("Study", "Series", "Instance")
        return 200, [{"ID": name, "Type": level} for name in names for level in levels]

    def _answers(self) -> None:
        if self.away:
            raise OrthancUnavailableError("it does not answer")

    def call(self, _method: str, path: str, question: Any) -> Any:
        self._answers()
        if path == "/tools/bulk-content":
            return [self._described(name) for name in question["Resources"]]
        self.queries += 1
        ((keyword, uids),) = question["Query"].items()
        level = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID").index(keyword)
        found = [(name, uids_of(file)[level]) for name, file in self.files.items()]
        return [
            {"ID": name, "MainDicomTags": {keyword: uid}}
            for name, uid in found
            if uid in uids.split("\\")
        ][: self.limit]

    def _described(self, name: str) -> dict[str, Any]:
        keywords = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        tags = dict(zip(keywords, uids_of(self.files[name]), strict=True))
        return {"ID": name, "MainDicomTags": tags}

    def find_study(self, uid: str) -> list[str]:
        self._answers()
        return [name for name, file in self.files.items() if uids_of(file)[0] == uid]

    def members(self, resources: list[str]) -> list[str]:
        return resources

    def describe(self, resources: list[str]) -> list[Description]:
        self.descriptions += 1
        return [
            Description(
                name,
                *uids_of(self.files[name]),
                len(self.files[name]),
                f"file-{hashlib.md5(self.files[name]).hexdigest()}",
                *(0.0, {}, {}, {}),
            )
            for name in resources
            if name in self.files
        ]

    def md5s(self, instances: dict[str, str]) -> dict[str, str]:
        return {name: hashlib.md5(self.files[name]).hexdigest() for name in instances}

    @contextmanager
    def read(self, name: str, _file: str, _size: int) -> Any:
        yield iter([self.files[name]])


class Inline:
    """A pool whose tasks run at once."""

    def submit(self, task: Callable[..., Any], *given: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(task(*given))
        return done

    def shutdown(self, **_: Any) -> None:
        """Nothing runs."""


class Trial:
    """A retriever whose time is a test's."""

    def __init__(
        self,
        ledger: Ledger,
        time: Time,
        *files: bytes,
        orthanc: Orthanc | None = None,
        pool: Callable[[int, str], Any] = lambda *_: Inline(),
        overwrites: bool = False,
    ) -> None:
        self.ledger, self.time, self.clock = ledger, time, FakeClock()
        self.store, self.orthanc, self.source = Store(*files), orthanc or Orthanc(), ORTHANC
        self.other, self.orthanc.overwrites = Store(*files), overwrites
        self.stopping = self.paused = False
        self.renewed = 0
        self.remote, other = self._remote(A, self.store), self._remote(B, self.other)
        given: Any = SimpleNamespace(pool=pool)
        self.retriever = Retriever(
            ledger,
            self.orthanc,
            self.orthanc,
            {A: self.remote, B: other},
            self.clock,
            Conditions(
                lambda: self.source,
                lambda account: account != A or not self.paused,
                lambda: self.stopping,
            ),
            pool=given.pool,
            overwrites=overwrites,
        )

    def _remote(self, account: str, store: Any) -> RemoteStore:
        outage = Outage(logging.getLogger("orthanc_gcp.test"), "down", "up", self.clock)
        return RemoteStore(account, store, Pace(self.clock, outage), 4, renew_token=self._renew)

    def _renew(self) -> None:
        self.renewed += 1

    def want(self, *resources: Resource, compare: bool = False, account: str = A) -> list[int]:
        return self.ledger.retrievals.request(account, ORTHANC, resources, compare_bytes=compare)

    def report(self, number: int) -> RetrievalReport:
        found = (self.ledger.retrievals.report(one, number=number) for one in (A, B))
        (one,) = chain(*found)
        return one

    def steps(self, number: int, most: int = 400) -> RetrievalReport:
        """Make steps, minutes apart where nothing is to be done, until one has ended."""
        for _ in range(most):
            if self.report(number).row.ended_at is not None:
                break
            if not self.step():
                self.pass_time(70)
        return self.report(number)

    def step(self) -> bool:
        try:
            return self.retriever.step()
        except OrthancError:
            return False

    def pass_time(self, seconds: float) -> None:
        self.time.now += seconds
        self.clock.time += seconds


def ended(trial: Trial, number: int) -> tuple[str, dict[str, int], set[str]]:
    """The state that a retrieval ends in, its instances by state, and the reasons."""
    found = trial.steps(number)
    reasons = {one.reason for one in found.missing} | {found.row.reason}
    return found.row.state, dict(found.counts), {one for one in reasons if one is not None}
