"""What came of all studies, and the exit code that it means."""

from __future__ import annotations

import pytest

from orthanc_gcp.custody.audit.findings import Category, Finding, StudyResult, Uids
from orthanc_gcp.custody.audit.totals import COMPLETE, DIFFERENT, INCOMPLETE, Totals

STORED = [Uids("1", "2", f"4.{number}") for number in range(5)]


def result(*categories, **more):
    findings = [
        Finding(category, Uids("1", "2", f"3.{number}"))
        for number, category in enumerate(categories)
    ]
    return StudyResult("1", "a", stored=STORED, bytes=50, findings=findings, **more).as_json()


def test_studies_count_once_and_instances_for_every_account():
    totals = Totals()
    totals.add_study([result(Category.MISSING), result(Category.MISSING, Category.UNKNOWN)])
    totals.add_study([result(Category.SUPERSEDED, queued=2)])
    totals.add_lines([StudyResult(None, "a", error="away").as_json()])
    assert totals.as_json() == {
        "Compared": {"Studies": 2, "Instances": 17, "Bytes": 150},
        "Differing": 1,
        "Errors": 1,
        "Counts": {
            "Instances": 17,
            "Stored": 15,
            "Missing": 2,
            "Unknown": 1,
            "Superseded": 1,
            "Queued": 2,
        },
    }
    assert Totals.from_json(totals.as_json()) == totals


DIFFERING = {"NotInLedger", "Waiting", "Quarantined", "Lost", "Missing", "Different"}


@pytest.mark.parametrize("category", Category)
@pytest.mark.parametrize("with_orthanc", [True, False])
def test_exit_codes(category, with_orthanc):
    totals = Totals()
    totals.add_study([result(category)])
    code = COMPLETE if with_orthanc else INCOMPLETE
    if category.value in DIFFERING:
        code = DIFFERENT
    elif category is Category.UNCOMPARED:
        code = INCOMPLETE
    assert totals.exit_code(with_orthanc=with_orthanc) == code


def test_what_could_not_be_asked_weighs_most():
    totals = Totals()
    totals.add_study([result(Category.MISSING), StudyResult("1", "b", error="away").as_json()])
    assert totals.exit_code(with_orthanc=True) == INCOMPLETE
