"""Queries over a search that knows little: to the end, and nothing that does not match."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydicom.uid import generate_uid

from orthanc_gcp.dicomweb import client as client_module
from orthanc_gcp.dicomweb.matching import key_of, tag_of
from orthanc_gcp.dicomweb.query import Level, Query, QueryResult, find, is_searchable
from orthanc_gcp.errors import StoreError
from tests.emulator.client import make_dicom


def query(level="study", *fields, **keys):
    tags = tuple(map(tag_of, fields))
    return Query(Level(level), tuple(key_of(*one) for one in keys.items()), tags)


def values(match, name):
    return match.get(tag_of(name), {}).get("Value", [])


@pytest.fixture
def clinic(client):
    """Three patients; the second has a CT and an MR in one study."""
    second = generate_uid()
    files = [
        make_dicom(PatientID="A1", PatientName="Doe^John", Modality="CT", StudyDate="20260101"),
        make_dicom(
            PatientID="A2",
            PatientName="DOE^JANE",
            Modality="CT",
            StudyDate="20260115",
            StudyInstanceUID=second,
            StudyDescription="CHEST",
        ),
        make_dicom(
            PatientID="A2",
            PatientName="DOE^JANE",
            Modality="MR",
            StudyDate="20260115",
            StudyInstanceUID=second,
            StudyDescription="CHEST",
        ),
        make_dicom(PatientID="B1", PatientName="Müller^Åsa", Modality="US", StudyDate="20260201"),
    ]
    client.store(*files)


def patients(store, level="study", **keys):
    found = find(store, query(level, "PatientID", **keys))
    return sorted(one for match in found for one in values(match, "PatientID"))


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({}, ["A1", "A2", "B1"]),
        ({"PatientID": "A1"}, ["A1"]),
        ({"PatientID": "A*"}, ["A1", "A2"]),
        ({"PatientID": "A1\\B1\\C1"}, ["A1", "B1"]),
        ({"PatientName": "doe^john"}, ["A1"]),
        ({"PatientName": "DOE*"}, ["A1", "A2"]),
        ({"PatientName": "*^J*"}, ["A1", "A2"]),
        ({"PatientName": "müller*"}, ["B1"]),
        ({"PatientName": "?üller^*"}, ["B1"]),
        ({"StudyDate": "20260110-"}, ["A2", "B1"]),
        ({"StudyDate": "-20260131", "PatientID": "?2"}, ["A2"]),
        ({"StudyDate": "20260115"}, ["A2"]),
        ({"ModalitiesInStudy": "MR"}, ["A2"]),
        ({"ModalitiesInStudy": "CT\\US"}, ["A1", "A2", "B1"]),
        ({"Modality": "?T"}, ["A1", "A2"]),
        ({"StudyDescription": "che*"}, []),
        ({"StudyDescription": "CHE*"}, ["A2"]),
        ({"PatientID": "nobody"}, []),
    ],
    ids=str,
)
def test_studies(store, clinic, keys, found):
    assert patients(store, **keys) == found


def test_series_and_instances(store, clinic):
    assert patients(store, "series", PatientName="doe*") == ["A1", "A2", "A2"]
    assert patients(store, "series", Modality="CT\\MR", StudyDate="20260102-") == ["A2", "A2"]
    assert patients(store, "instance", PatientID="A2", Modality="MR") == ["A2"]
    assert patients(store, "instance", InstanceNumber="77") == []
    sop_class = "1.2.840.10008.5.1.4.1.1.7"
    assert patients(store, "instance", SOPClassUID=sop_class) == ["A1", "A2", "A2", "B1"]


def test_what_no_answer_has_is_said(store, clinic):
    result = QueryResult()
    assert not list(find(store, query(PatientComments="x"), result))
    assert (result.read, result.matches, result.unseen) == (3, 0, {tag_of("PatientComments")})
    assert not list(find(store, query(StudyDescription="x"), result))
    assert not result.unseen, "where an image has it, it would be there"


def test_all_pages_are_read_and_an_end_that_cannot_be_reached_is_said(store, client, monkeypatch):
    client.store(*(make_dicom(PatientID=f"P{number}") for number in range(7)))
    search = store.search
    monkeypatch.setattr(store, "search", lambda *given, **more: search(*given, **more, page=2))
    assert patients(store) == [f"P{number}" for number in range(7)]
    monkeypatch.setattr(client_module, "LARGEST_OFFSET", 4)
    found = find(store, query())
    assert [next(found) for _ in range(6)]
    with pytest.raises(StoreError, match="do not end"):
        next(found)


NINE = "\\".join(map(str, range(9)))
STUDY_1, STUDY_2 = ({"StudyInstanceUID": one} for one in "12")
A = {"PatientName": "A", "fuzzymatching": "true"}


def each(name, count):
    """Searches for one number after the other."""
    return [{name: str(number)} for number in range(count)]


@pytest.mark.parametrize(
    ("keys", "searches"),
    [
        ({"PatientID": "A", "AccessionNumber": "B"}, [{"PatientID": "A", "AccessionNumber": "B"}]),
        ({"PatientID": "A*"}, [{}]),
        ({"PatientID": "A\\B"}, [{"PatientID": "A"}, {"PatientID": "B"}]),
        ({"PatientID": "A\\A"}, [{"PatientID": "A"}]),
        ({"PatientID": "A,B"}, [{}]),
        (
            {"PatientID": "\\".join(map(str, range(999)))},
            [{"PatientID": str(n)} for n in range(999)],
        ),
        (
            {"PatientID": "A", "StudyInstanceUID": "1\\2"},
            [{"PatientID": "A", **STUDY_1}, {"PatientID": "A", **STUDY_2}],
        ),
        ({"PatientID": "A", "StudyInstanceUID": NINE}, [{"PatientID": "A"}]),
        ({"PatientID": NINE, "StudyInstanceUID": "1\\2"}, [STUDY_1, STUDY_2]),
        ({"StudyInstanceUID": "1\\2", "PatientID": "A\\B"}, [STUDY_1, STUDY_2]),
        ({"PatientName": "A", "StudyInstanceUID": "1\\2\\1"}, [{**A, **STUDY_1}, {**A, **STUDY_2}]),
        (
            {"StudyDate": "20260101", "StudyInstanceUID": NINE},
            [{"StudyDate": "20260101", "StudyInstanceUID": str(n)} for n in range(9)],
        ),
        ({"StudyDate": "-20260131"}, [{"StudyDate": "00010101-20260131"}]),
        ({"ReferringPhysicianName": "A"}, [{}]),
        ({"PatientName": "*"}, [{}]),
        ({"PatientName": "*oe"}, [{}]),
        ({"PatientName": "O'Brien*^Ann"}, [{"PatientName": "Ann", "fuzzymatching": "true"}]),
        ({"PatientName": "D?e^Jo"}, [{"PatientName": "Jo", "fuzzymatching": "true"}]),
    ],
    ids=str,
)
def test_what_the_store_is_asked(keys, searches):
    asked = [
        {name: value for name, value in one.items() if name != "includefield"}
        for one in query(**keys).searches()
    ]
    wanted = [
        {name if name == "fuzzymatching" else tag_of(name): value for name, value in one.items()}
        for one in searches
    ]
    assert asked == wanted


@pytest.mark.parametrize(
    ("keys", "searches"),
    [
        (
            {"Modality": "CT\\MR", "SeriesInstanceUID": NINE},
            [{"SeriesInstanceUID": str(n)} for n in range(9)],
        ),
        ({"Modality": "CT\\MR"}, [{"Modality": "CT"}, {"Modality": "MR"}]),
        ({"Modality": NINE}, [{}]),
    ],
    ids=str,
)
def test_what_a_series_is_asked_for_by(keys, searches):
    asked = [one for one in query("series", **keys).searches() if one.pop("includefield")]
    assert asked == [{tag_of(name): value for name, value in one.items()} for one in searches]


class Slow:
    """A store that takes its time, with the searches that it was asked at once."""

    def __init__(self, connections, patience=0.005):
        self.connections, self.patience = connections, patience
        self.asked, self.now, self.most, self.lock = [], 0, 0, threading.Lock()
        self.held = threading.Event()
        self.held.set()

    def search(self, path, parameters, *, depth):
        number = int(parameters[tag_of("StudyInstanceUID")])
        with self.lock:
            self.asked.append(number)
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(self.patience * (1 + number % 3))
        self.held.wait(20)
        with self.lock:
            self.now -= 1
        if number == 50:
            raise StoreError("refused", reason="network")
        if number % 2:
            yield {tag_of("StudyInstanceUID"): {"vr": "UI", "Value": [str(number)]}}


def studies(numbers):
    return query(StudyInstanceUID="\\".join(map(str, numbers)))


@pytest.mark.parametrize("connections", [2, 40])
def test_a_long_list_is_asked_for_side_by_side_and_answered_in_its_order(connections):
    store = Slow(connections)
    numbers = [*range(40, 0, -1), 7, 9]
    with ThreadPoolExecutor(8) as pool:
        found = [
            values(one, "StudyInstanceUID") for one in find(store, studies(numbers), pool=pool)
        ]
        assert found == [[str(number)] for number in range(39, 0, -2)]
        assert sorted(store.asked) == list(range(1, 41))
        assert store.most == min(8, connections)
        # The first answer comes before the last question.
        store.asked.clear()
        beginning = find(store, studies(range(1, 49)), pool=pool)
        assert values(next(beginning), "StudyInstanceUID") == ["1"]
        beginning.close()
    assert len(store.asked) <= 9, "and what nobody waits for is not asked"


def test_what_was_found_before_a_refusal_comes_before_it():
    with ThreadPoolExecutor(8) as pool:
        found = find(Slow(8), studies([1, 3, 50, 5]), pool=pool)
        assert [values(next(found), "StudyInstanceUID") for _ in range(2)] == [["1"], ["3"]]
        with pytest.raises(StoreError, match="refused"):
            next(found)


def test_a_list_is_stopped_while_nothing_comes():
    store, stopped = Slow(4), threading.Event()
    store.held.clear()
    with ThreadPoolExecutor(8) as pool:
        found = find(store, studies(range(40)), None, stopped.is_set, pool)
        threading.Timer(0.2, stopped.set).start()
        assert list(found) == []
        store.held.set()
    assert len(store.asked) <= 4


def test_a_list_is_stopped_where_nothing_matches():
    wanted = studies(range(0, 80, 2))
    with ThreadPoolExecutor(8) as pool:
        for one in (None, pool):
            store, stops = Slow(4, 0), iter([False] * 3 + [True])
            assert list(find(store, wanted, None, lambda stops=stops: next(stops), one)) == []
            assert store.asked[:3] == [0, 2, 4]
            assert len(store.asked) <= 8


def test_it_is_stopped_also_where_nothing_matches(store, clinic):
    asked = []

    def stop():
        asked.append(True)
        return len(asked) == 3

    result = QueryResult()
    found = list(find(store, query(StudyDescription="nothing"), result, stop))
    assert (found, result.read) == ([], 1)


@pytest.mark.parametrize(
    ("name", "level", "searchable"),
    [
        ("PatientName", "study", True),
        ("ModalitiesInStudy", "study", True),
        ("Modality", "study", True),
        ("SeriesDescription", "study", False),
        ("SeriesDescription", "series", True),
        ("Manufacturer", "series", False),
        ("Manufacturer", "instance", True),
        ("RetrieveAETitle", "instance", False),
        ("NumberOfStudyRelatedInstances", "instance", False),
        ("PixelData", "instance", False),
        ("00091001", "instance", False),
        ("00021001", "instance", False),
    ],
)
def test_what_can_be_said_of_an_attribute(name, level, searchable):
    assert is_searchable(tag_of(name), Level(level)) is searchable
