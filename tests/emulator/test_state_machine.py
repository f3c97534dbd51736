"""Any order of uploads, searches, retrievals, deletions and restarts, against a plain model.

Every run explores anew. Where ``CI`` is set, hypothesis chooses its own profile for that, which
goes the same ways each time. A failure prints the steps and a blob that repeats them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.client import AS_STORED, DICOM_JSON, MULTIPART, Client, make_dicom, split
from tests.emulator.contents import stored_contents
from tests.emulator.processes import running

PATIENTS = {
    "1.2.1": {"PatientID": "P1", "PatientName": "Doe^John", "StudyDate": "20200101"},
    "1.2.2": {"PatientID": "P2", "PatientName": "Doering^Anna", "StudyDate": "20210101"},
    "1.2.3": {"PatientID": "P1", "PatientName": "Roe^Jane", "StudyDate": "20200701"},
}
MODALITIES = {"1.5.1": "CT", "1.5.2": "MR"}
INSTANCES = ["1.9.1", "1.9.2", "1.9.3"]
LEVELS = {"studies": 1, "series": 2, "instances": 3}
MAX_RESTARTS = 2
"""In one store; each takes as long as fifty requests."""
TAGS = ("0020000D", "0020000E", "00080018")


class Key(NamedTuple):
    """An instance by its UIDs; those of series and instances occur in several places."""

    study: str
    series: str
    instance: str


@lru_cache(maxsize=256)
def content_of(key: Key, version: int) -> bytes:
    """Return one of the files that have the same UIDs; the second is beyond one block."""
    uids = dict(zip(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"), key, strict=True))
    attributes = {**PATIENTS[key.study], "Modality": MODALITIES[key.series], **uids}
    return make_dicom(bytes([version, 0]) * (300_000 if version == 1 else 1), **attributes)


def path_of(uids: tuple[str, ...]) -> str:
    return "".join(f"/{level}/{uid}" for level, uid in zip(LEVELS, uids, strict=False))


@dataclass
class Model:
    """What a store should remember: at each level what there is, in the order of arrival."""

    contents: dict[Key, bytes] = field(default_factory=dict)
    levels: tuple[dict[tuple[str, ...], None], ...] = field(default_factory=lambda: ({}, {}, {}))

    def put(self, key: Key, content: bytes, *, replace: bool) -> bool:
        """Take an instance in; tell whether that is no failure."""
        present = self.contents.get(key)
        if present is not None:
            if not replace:
                return False
            if present == content:
                return True
            self.delete(key)
        self.contents[key] = content
        for depth, level in enumerate(self.levels, 1):
            level.setdefault(key[:depth])
        return True

    def below(self, uids: tuple[str, ...]) -> list[Key]:
        return [key for key in self.contents if key[: len(uids)] == uids]

    def delete(self, uids: tuple[str, ...]) -> bool:
        """Take out what is below; tell whether there was something."""
        keys = self.below(uids)
        for key in keys:
            del self.contents[key]
        for depth, level in enumerate(self.levels, 1):
            for gone in [entry for entry in level if not self.below(entry)]:
                del self.levels[depth - 1][gone]
        return bool(keys)

    def search(self, depth: int, path: tuple[str, ...], filters: dict[str, str]) -> list[Any]:
        """Return the matches, as the UIDs that the path does not name."""
        return [
            entry[len(path) :]
            for entry in self.levels[depth - 1]
            if entry[: len(path)] == path and matches(entry, filters)
        ]


def matches(entry: tuple[str, ...], filters: dict[str, str]) -> bool:
    named = dict(
        zip(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"), entry, strict=False)
    )
    values = {**PATIENTS[entry[0]], **named}
    if len(entry) > 1:
        values["Modality"] = MODALITIES[entry[1]]
    wanted = dict(filters)
    if wanted.pop("fuzzymatching", "") and not begins_a_name(wanted.pop("PatientName"), values):
        return False
    date = wanted.pop("StudyDate", values["StudyDate"])
    first, _, last = date.partition("-") if "-" in date else (date, "", date)
    if not (first or "0") <= values["StudyDate"] <= (last or "9"):
        return False
    return all(values[name] == value for name, value in wanted.items())


def begins_a_name(query: str, values: dict[str, str]) -> bool:
    tokens = re.split(r"\W+", values["PatientName"].lower())
    return any(t.startswith(wanted) for wanted in re.split(r"\W+", query.lower()) for t in tokens)


def choose(*options: str) -> st.SearchStrategy[str]:
    return st.sampled_from(options)


studies, series, instances = choose(*PATIENTS), choose(*MODALITIES), choose(*INSTANCES)
keys = st.builds(Key, studies, series, instances)
uploads = st.lists(st.tuples(keys, st.integers(0, 2)), min_size=1, max_size=4)
places = st.one_of(st.tuples(studies), st.tuples(studies, series), keys)
of_studies = {
    "PatientID": choose("P1", "P2", "P3"),
    "StudyDate": choose("20200101", "20200101-20201231", "-20200630", "20200701-", "19990101"),
    "StudyInstanceUID": studies,
}
of_series = {**of_studies, "Modality": choose("CT", "MR"), "SeriesInstanceUID": series}
of_instances = {**of_series, "SOPInstanceUID": instances}
names = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"PatientName": choose("Doe^John", "doe", "Roe^Jane")}),
    st.fixed_dictionaries(
        {"PatientName": choose("do", "jane", "X Anna", "oe"), "fuzzymatching": st.just("true")}
    ),
)
pages = st.fixed_dictionaries(
    {}, optional={"limit": st.integers(0, 5), "offset": st.integers(0, 5)}
)


def searches(depth: int) -> st.SearchStrategy[tuple[Any, ...]]:
    """Searches at a level: the depth, the UIDs of the path, filters and page."""
    above = [st.just(()), st.tuples(studies), st.tuples(studies, series)][:depth]
    filters = st.fixed_dictionaries({}, optional=(of_studies, of_series, of_instances)[depth - 1])
    return st.tuples(st.just(depth), st.one_of(*above), filters, names, pages)


class Server:
    """An emulator in this process, which can be started again over its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._emulator: Emulator | None = None
        self.start()
        self.client = Client(self.url, folder)

    def start(self) -> None:
        self._emulator = Emulator(Options(self._folder, write_credentials=self._folder))
        self._emulator.__enter__()
        self.url = self._emulator.url

    def stop(self) -> None:
        assert self._emulator is not None
        self._emulator.__exit__(None, None, None)

    def restart(self) -> None:
        self.stop()
        self.start()


class KilledServer:
    """An emulator in a process of its own, which is killed rather than stopped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.start()
        self.client = Client(self.url, folder)

    def start(self) -> None:
        self._running = running(self._folder)
        self.url = self._running.__enter__().url

    def stop(self) -> None:
        self._running.__exit__(None, None, None)

    def restart(self) -> None:
        self.stop()
        self.start()


class StoreMachine(RuleBasedStateMachine):
    """One store, and what it should contain."""

    def __init__(self, server: Server | KilledServer) -> None:
        super().__init__()
        self.server = server
        self.model = Model()
        self.restarts = 0
        server.client.url = server.url
        self.client = server.client.of_new_store()

    @rule(files=uploads, into=st.none() | studies, replace=st.booleans())
    def upload(self, files: list[tuple[Key, int]], into: str | None, replace: bool) -> None:
        fine = [
            into in (None, key.study)
            and self.model.put(key, content_of(key, version), replace=replace)
            for key, version in files
        ]
        body = [content_of(*file) for file in files]
        path = f"/studies/{into}" if into else "/studies"
        response = (self.update if replace else self.client.store)(*body, path=path)
        assert response.status == (200 if all(fine) else 409)
        self.compare_outcome(response.json(), files, fine)

    def update(self, *files: bytes, path: str) -> Any:
        url = f"{self.client.web}{path}".replace("/v1/", "/v1beta1/")
        head = b"--x\r\nContent-Type: application/dicom\r\n\r\n"
        body = b"".join(head + content + b"\r\n" for content in files) + b"--x--"
        content_type = f"{MULTIPART}; boundary=x"
        return self.client.request("PUT", url, body, content_type=content_type, accept=DICOM_JSON)

    def compare_outcome(self, answer: Any, files: list[Any], fine: list[bool]) -> None:
        for sequence, outcome in (("00081199", True), ("00081198", False)):
            items = answer.get(sequence, {}).get("Value", [])
            pairs = zip(files, fine, strict=True)
            expected = [key.instance for (key, _), stored in pairs if stored is outcome]
            assert [item["00081155"]["Value"][0] for item in items] == expected

    @rule(search=st.one_of(*map(searches, LEVELS.values())))
    def search(self, search: tuple[Any, ...]) -> None:
        depth, path, filters, name, page = search
        found = self.client.search(
            f"{path_of(path)}/{list(LEVELS)[depth - 1]}",
            **filters,
            **name,
            **{key: str(value) for key, value in page.items()},
        )
        told = [tuple(match[tag]["Value"][0] for tag in TAGS if tag in match) for match in found]
        expected = self.model.search(depth, path, {**filters, **name})
        offset = page.get("offset", 0)
        assert told == expected[offset:][: page.get("limit", len(expected))]

    @rule(place=places)
    def retrieve(self, place: tuple[str, ...]) -> None:
        response = self.client.get(path_of(place), AS_STORED)
        self.compare_presence(place, response.status)
        if response.status == 200:
            expected = [self.model.contents[key] for key in self.model.below(place)]
            assert [content for _, content in split(response)] == expected

    @rule(place=places)
    def read_metadata(self, place: tuple[str, ...]) -> None:
        response = self.client.get(f"{path_of(place)}/metadata")
        self.compare_presence(place, response.status)
        if response.status == 200:
            told = [tuple(item[tag]["Value"][0] for tag in TAGS) for item in response.json()]
            assert told == self.model.below(place)

    @rule(place=places)
    def delete(self, place: tuple[str, ...]) -> None:
        there = self.model.delete(place)
        response = self.client.request("DELETE", path_of(place))
        assert response.status == (200 if there else 403)
        if there and len(place) < 3:
            operation = self.client.get(f"{self.client.url}/v1/{response.json()['name']}")
            assert operation.json()["done"] is True

    @precondition(lambda self: self.restarts < MAX_RESTARTS)
    @rule()
    def restart(self) -> None:
        self.restarts += 1
        self.server.restart()
        self.client.url = self.server.url

    @invariant()
    def counts(self) -> None:
        url = f"{self.client.url}/v1/{self.client.store_name}:getDICOMStoreMetrics"
        told = self.client.get(url).json()
        fields = ("studyCount", "seriesCount", "instanceCount", "blobStorageSizeBytes")
        size = sum(map(len, self.model.contents.values()))
        expected = [*map(len, self.model.levels), size]
        assert [int(told.get(name, 0)) for name in fields] == expected

    def compare_presence(self, place: tuple[str, ...], status: int) -> None:
        assert status == (200 if self.model.below(place) else 403)

    def teardown(self) -> None:
        url = f"{self.client.url}/v1/{self.client.store_name}"
        assert self.client.request("DELETE", url).status == 200


@pytest.fixture(params=[(Server, 30), (KilledServer, 4)], ids=["stopped", "killed"])
def run(request: pytest.FixtureRequest, tmp_path: Path, identities: Path) -> Iterator[Callable]:
    kind, examples = request.param
    (tmp_path / identities.name).write_bytes(identities.read_bytes())
    server = kind(tmp_path)
    bounded = settings(
        max_examples=examples, stateful_step_count=40, deadline=None, print_blob=True
    )
    yield partial(run_state_machine_as_test, partial(StoreMachine, server), settings=bounded)
    server.stop()
    server.client.pool.clear()
    assert stored_contents(tmp_path) == []


@pytest.mark.timeout(600)  # a failure is made smaller for minutes before it is printed
def test_any_order_of_requests(run: Callable[[], None]) -> None:
    run()
