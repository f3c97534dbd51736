"""C-MOVE at Orthanc: each instance once, from where it is."""

from __future__ import annotations

import time

import pytest

from orthanc_gcp.gateway.for_orthanc import moves
from orthanc_gcp.gateway.for_orthanc.moves import Asked
from orthanc_gcp.gateway.retrieve.limits import Limits
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.gateway.conftest import WORKSTATION
from tests.gateway.for_orthanc.conftest import instance
from tests.gateway.retrieve.scp import EXPLICIT, IMPLICIT, SECONDARY, receiving


def asked(level="PATIENT", destination="DEST", **identifier):
    return Asked(level, identifier, "WORKSTATION", "ORTHANC", destination, 7)


@pytest.fixture
def to(merged):
    """What answers for Orthanc, with a destination on a port."""

    def begin(port, **options):
        there = {"AET": "DEST", "Host": "127.0.0.1", "Port": port}
        return merged(DicomModalities={**WORKSTATION, "d": there}, **options).moves

    return begin


def moves_of(start, orthanc, received, **options):
    """What moves for an Orthanc of a test's own, to one destination."""
    there = {"AET": "DEST", "Host": "127.0.0.1", "Port": received.port}
    modalities = {**WORKSTATION, "d": there}
    rest = OrthancRest(orthanc.url)
    running = start({"AnswerForOrthanc": True}, rest, DicomModalities=modalities, **options)
    return running.gateway.for_orthanc.moves


def ended(service, name):
    """How one ends that is asked about as Orthanc asks."""
    state = service.state(name, -1, 30)
    completed = 0
    while not state.is_over:
        assert state.size is not None
        state = service.state(name, completed, 30)
        completed = state.completed
    service.end(name)
    return state


class Counted:
    """A cap that is not reached, of which the units are counted."""

    def __init__(self):
        self.units = []

    def acquire(self, units=1):
        self.units.append(units)

    def for_one_request(self):
        return self.acquire


def test_everything_of_a_patient(to):
    caps = Limits(Counted(), Counted())
    with receiving({SECONDARY: [EXPLICIT]}) as received:
        service = to(received.port, limits=lambda account, _: caps if account == "google" else None)
        state = ended(service, service.begin(asked(PatientID="4711")))
        assert (state.size, state.completed, state.failed, state.refused) == (6, 6, 0, "")
    assert sorted(received.requests) == [
        *("1.2.1.1.1", "1.2.2.1.1", "1.2.2.1.2", "1.2.3.1.1", "1.2.3.1.2", "1.2.3.2.1")
    ]
    # That which both have is Orthanc's.
    assert b"ISO_IR 100" not in received.data_sets["1.2.3.1.1"]
    assert received.originators == {("WORKSTATION", 7)}
    # The caps of the account are about what is read from its store.
    assert 1 <= len(caps.requests.units) <= 4
    of_store = [received.data_sets[uid] for uid in received.requests if uid not in OF_ORTHANC]
    assert sum(map(len, of_store)) < sum(caps.bytes.units) < 6 * 1000


OF_ORTHANC = {"1.2.1.1.1", "1.2.3.1.1"}
LEVELS = [
    ("STUDY", {"StudyInstanceUID": "1.2.1\\1.2.2"}, 3),
    ("STUDY", {"AccessionNumber": "A3"}, 3),
    ("STUDY", {"AccessionNumber": "A1\\A3"}, 4),
    ("SERIES", {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.2"}, 1),
    ("INSTANCE", {"SOPInstanceUID": "1.2.3.1.1\\1.2.3.1.2"}, 2),
    ("STUDY", {"StudyInstanceUID": "1.2.9"}, 0),
]


def test_other_levels(to):
    with receiving({SECONDARY: [IMPLICIT]}) as received:  # for which Orthanc transcodes
        service = to(received.port)
        for level, identifier, expected in LEVELS:
            state = ended(service, service.begin(asked(level, **identifier)))
            assert (state.size, state.completed, state.failed) == (expected, expected, 0)
    assert set(received.syntaxes.values()) == {IMPLICIT}


@pytest.mark.parametrize(
    ("level", "identifier"),
    [
        ("PATIENT", {"PatientID": "p"}),
        ("STUDY", {"StudyInstanceUID": "1.2.0\\1.2.1\\1.2.2\\1.2.3"}),
        ("SERIES", {"SeriesInstanceUID": "1.2.0.1\\1.2.1.1\\1.2.2.1\\1.2.3.1"}),
    ],
)
def test_all_is_sent_however_little_orthanc_finds_at_once(start, orthanc, level, identifier):
    """``LimitFindResults`` and ``LimitFindInstances`` are about queries, not about retrievals."""
    limits = {"LimitFindResults": 1, "LimitFindInstances": 1}
    limited = orthanc(limits, plugins=())
    for study in range(4):
        for number in range(5):
            more = {"PatientID": "p", "AccessionNumber": f"A{study // 2}"}
            limited.json("POST", "/instances", instance(study, 1, number, **more))
    limited.json("POST", "/instances", instance(5, 1, 1, PatientID="P", AccessionNumber="a0"))
    with receiving({SECONDARY: [EXPLICIT]}) as received:
        service = moves_of(start, limited, received)
        state = ended(service, service.begin(asked(level, **identifier)))
    assert (state.size, state.completed, state.failed) == (20, 20, 0)
    assert len(set(received.requests)) == 20
    limited.kill()


@pytest.mark.parametrize("number", ["A0", "A1"])
def test_more_studies_of_an_accession_number_than_orthanc_finds(start, orthanc, number):
    """Nobody knows then which others there are: none is sent, rather than some."""
    limits = {"LimitFindResults": 1}
    limited = orthanc(limits, plugins=())
    for study in range(4):
        file = instance(study, 1, 1, AccessionNumber="A1" if study == 3 else "A0")
        limited.json("POST", "/instances", file)
    with receiving({SECONDARY: [EXPLICIT]}) as received:
        service = moves_of(start, limited, received, **limits)
        state = ended(service, service.begin(asked("STUDY", AccessionNumber=number)))
    whole = number == "A1"
    assert (state.completed, state.failed, bool(state.refused)) == (int(whole), 0, not whole)
    assert whole or "LimitFindResults" in state.refused
    assert len(received.requests) == whole
    limited.kill()


def test_what_cannot_be(to, faults, caplog):
    with receiving({SECONDARY: [EXPLICIT]}) as received:
        service = to(received.port)
        for one in (
            asked(PatientID="4711", destination="NOBODY"),
            asked("STUDY", PatientID="4711"),
            asked("STUDY", StudyInstanceUID="1.2.*"),
            asked("STUDY", AccessionNumber="*"),
            asked("STUDY", AccessionNumber="A?"),
            asked("STUDY", AccessionNumber=" "),
            asked("STUDY", AccessionNumber="A1\r"),
        ):
            state = ended(service, service.begin(one))
            assert state.refused
            assert (state.completed, state.failed) == (0, 0)
        assert service.state("nothing", 0, 0) is None
        # Nobody knows what a store has that is away: one more has failed.
        faults({"status": 403, "path": "/instances"})
        state = ended(service, service.begin(asked(PatientID="4711")))
        assert (state.size, state.completed, state.failed) == (3, 2, 1)
        assert sorted(received.requests) == ["1.2.1.1.1", "1.2.3.1.1"]
    assert "only of what Orthanc holds" in caplog.text
    assert "4711" not in caplog.text


def test_a_modality_of_the_database(to, monkeypatch):
    service = to(1)
    secure = ended(service, service.begin(asked(PatientID="1", destination="SECURE")))
    assert "DicomTlsCertificate" in secure.refused
    made = []
    monkeypatch.setattr(service, "_destination", made.append)
    assert ended(service, service.begin(asked(PatientID="1", destination="stored "))).refused
    assert [one.port for one in made] == [104]


def test_so_many_at_once(to, monkeypatch):
    monkeypatch.setattr(moves, "MOST_MOVES", 1)
    with receiving({SECONDARY: [EXPLICIT]}, lambda *_: time.sleep(0.2) or 0) as received:
        service = to(received.port)
        first = service.begin(asked(PatientID="4711"))
        assert service.begin(asked(PatientID="4711")) is None
        service.state(first, -1, 30)
        service.end(first)
        assert service.state(first, -1, 0) is None
        monkeypatch.setattr(moves, "FORGET_AFTER", -1.0)
        assert service.begin(asked(PatientID="1"))
        assert service.begin(asked(PatientID="1"))
