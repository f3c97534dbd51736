"""What a report says of a study."""

from __future__ import annotations

from orthanc_gcp.custody.audit.findings import Category, Finding, StudyResult, Uids


def test_every_instance_by_its_triple():
    findings = [
        Finding(Category.MISSING, Uids("1", "1.1", "1.1.1"), "o1", in_orthanc=True),
        Finding(Category.NOT_IN_LEDGER, Uids("1", "1.1", "1.1.2"), "o2", in_orthanc=True),
        Finding(Category.DIFFERENT, Uids("1", "1.2", "1.1.1"), digests={"Sha256": "a"}),
        Finding(Category.UNKNOWN, Uids("1", "1.2", "1.1.9"), in_store=True, reason="why"),
    ]
    stored = [Uids("1", f"1.{one % 2}", f"2.{one}") for one in range(7)]
    result = StudyResult("1", "a", stored, 70, findings=findings, queued=1)
    assert result.for_archive() == result.as_json() | {
        "Stored": {"1.0": ["2.0", "2.2", "2.4", "2.6"], "1.1": ["2.1", "2.3", "2.5"]}
    }
    assert result.as_json() == {
        "Study": "1",
        "Account": "a",
        "Differs": True,
        "Counts": {
            "Instances": 10,
            "Stored": 7,
            "Missing": 1,
            "NotInLedger": 1,
            "Different": 1,
            "Unknown": 1,
            "Queued": 1,
        },
        "Bytes": 70,
        "NotInLedger": [
            {
                "Series": "1.1",
                "Instance": "1.1.2",
                "OrthancId": "o2",
                "InOrthanc": True,
                "InStore": False,
            }
        ],
        "Missing": [
            {
                "Series": "1.1",
                "Instance": "1.1.1",
                "OrthancId": "o1",
                "InOrthanc": True,
                "InStore": False,
            }
        ],
        "Different": [
            {
                "Series": "1.2",
                "Instance": "1.1.1",
                "InOrthanc": False,
                "InStore": False,
                "Sha256": "a",
            }
        ],
        "Unknown": [
            {
                "Series": "1.2",
                "Instance": "1.1.9",
                "InOrthanc": False,
                "InStore": True,
                "Reason": "why",
            }
        ],
    }


def test_an_error_is_all_that_is_said():
    result = StudyResult("1", None, error="away")
    assert result.as_json() == {"Study": "1", "Account": None, "Error": "away"}
    assert (result.is_incomplete, result.differs) == (True, False)


def test_an_instance_counts_once_whatever_is_wrong_with_it():
    uids = Uids("1", "2", "3")
    findings = [Finding(Category.QUARANTINED, uids), Finding(Category.NOT_IN_LEDGER, uids)]
    assert StudyResult("1", "a", findings=findings).counts["Instances"] == 1
