"""What is wanted, and by which requests it comes."""

from __future__ import annotations

import pytest
from pydicom.uid import generate_uid
from pynetdicom.dsutils import encode

from orthanc_gcp.dicomweb.matching import key_of
from orthanc_gcp.gateway.request import IdentifierError, Level
from orthanc_gcp.gateway.retrieve.requests import SMALL, Fetch, fetches, read_keys
from orthanc_gcp.gateway.retrieve.sub_operations import Instance
from tests.gateway.scu import keys

STUDY, SERIES, IMAGE = generate_uid(), generate_uid(), generate_uid()
ALL = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES, "SOPInstanceUID": IMAGE}


def read(level, levels=tuple(Level), **values):
    encoded = encode(keys(level, **values), True, True)
    return {key.name: key.values for key in read_keys(encoded, True, levels)}


@pytest.mark.parametrize(
    ("level", "values", "found"),
    [
        ("PATIENT", {"PatientID": "A1"}, {"PatientID": ("A1",)}),
        ("PATIENT", {"PatientID": "A1", **ALL}, {"PatientID": ("A1",)}),
        ("STUDY", {"PatientID": "X", **ALL}, {"StudyInstanceUID": (STUDY,)}),
        (
            "STUDY",
            {"StudyInstanceUID": f"{STUDY}\\{SERIES}"},
            {"StudyInstanceUID": (STUDY, SERIES)},
        ),
        (
            "SERIES",
            ALL,
            {"StudyInstanceUID": (STUDY,), "SeriesInstanceUID": (SERIES,)},
        ),
        ("SERIES", {"SeriesInstanceUID": SERIES}, {"SeriesInstanceUID": (SERIES,)}),
        ("IMAGE", ALL, {name: (value,) for name, value in ALL.items()}),
        ("IMAGE", {"SOPInstanceUID": IMAGE}, {"SOPInstanceUID": (IMAGE,)}),
        ("IMAGE", {"SOPInstanceUID": IMAGE, "Modality": "CT"}, {"SOPInstanceUID": (IMAGE,)}),
    ],
)
def test_keys(level, values, found):
    assert read(level, **values) == found


@pytest.mark.parametrize(
    ("level", "values"),
    [
        ("PATIENT", {}),
        ("PATIENT", {"PatientID": ""}),
        ("PATIENT", {"PatientID": "*"}),
        ("PATIENT", {"PatientID": "A*"}),
        ("PATIENT", {"PatientID": "A?"}),
        ("PATIENT", {"PatientName": "DOE"}),
        ("STUDY", {"PatientID": "A1"}),
        ("STUDY", {"StudyInstanceUID": "1.2.*"}),
        ("SERIES", {"StudyInstanceUID": STUDY}),
        ("IMAGE", {"StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES}),
        ("", {"StudyInstanceUID": STUDY}),
        ("study", {"StudyInstanceUID": STUDY}),
    ],
)
def test_what_retrieves_nothing(level, values):
    """And above all not everything."""
    with pytest.raises(IdentifierError):
        read(level, **values)


def test_a_level_that_a_model_does_not_have():
    with pytest.raises(IdentifierError):
        read("PATIENT", (Level.STUDY, Level.SERIES, Level.IMAGE), PatientID="A1")


def key(name, count):
    return key_of(name, "\\".join(f"1.2.{number + 1}" for number in range(count)))


def instances(study, series, sizes):
    return [
        Instance((study, series, f"{study}.{series}.{number}"), size)
        for number, size in enumerate(sizes)
    ]


def test_small_ones_come_together():
    small, other = instances("1", "2", [100] * 5), instances("1", "3", [SMALL] * 2)
    assert list(fetches([*small, *other], is_whole=True)) == [
        Fetch(tuple(small), "1", "2"),
        Fetch(tuple(other), "1", "3"),
    ]


@pytest.mark.parametrize(
    ("sizes", "is_whole"),
    [([100] * 3, False), ([SMALL + 1] * 3, True), ([100], True), ([SMALL] * 300, True)],
)
def test_others_come_one_by_one(sizes, is_whole):
    some = instances("1", "2", sizes)
    assert list(fetches(some, is_whole=is_whole)) == [Fetch((one,)) for one in some]


def test_two_of_the_same_uid_come_one_by_one():
    twice = [Instance(("1", "2", "3"), 1), Instance(("1", "2", "3"), 2)]
    assert all(not one.study for one in fetches(twice, is_whole=True))
