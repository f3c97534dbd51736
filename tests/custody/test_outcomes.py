"""What becomes of an instance that is not in the store after an attempt."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orthanc_gcp.custody.outcomes import (
    BISECT_AFTER,
    most_together,
    quarantined,
    requeued,
)
from orthanc_gcp.ledger.rows import Outcome, Transfer
from orthanc_gcp.ledger.schema import State

ROW = Transfer(
    id=7,
    account="a",
    source="o",
    orthanc_id="x",
    study_instance_uid="1",
    series_instance_uid="1.2",
    sop_instance_uid="1.2.3",
    size_bytes=10,
    attachment_uuid="",
    sha256="d",
    state="sending",
    attempts=2,
    max_batch_instances=8,
    replace=True,
    received_at=1.0,
    reason="before",
    priority=0,
)


def test_it_waits_as_it_was_but_for_what_was_learnt():
    assert requeued(ROW) == Outcome(
        7,
        State.WAITING,
        "before",
        sha256="d",
        max_batch_instances=8,
        replace=True,
        attempts=2,
    )
    assert requeued(ROW, state=State.DELAYED, attempts=3).attempts == 3


@pytest.mark.parametrize(
    ("most", "attempts", "together", "expected"),
    [
        (None, BISECT_AFTER - 1, 100, None),
        (None, BISECT_AFTER, 100, 50),
        (None, BISECT_AFTER, 3, 2),
        (50, BISECT_AFTER + 1, 50, 25),
        (10, BISECT_AFTER, 100, 10),
        (2, BISECT_AFTER, 2, 1),
        (1, BISECT_AFTER, 1, 1),
    ],
)
def test_what_fails_together_is_halved_until_each_is_alone(most, attempts, together, expected):
    row = replace(ROW, max_batch_instances=most)
    assert most_together(row, attempts, together) == expected


def test_what_needs_a_person_is_logged_by_its_uid(caplog):
    outcome = quarantined(ROW, "invalid", "it is no DICOM", None)
    assert (outcome.state, outcome.attempts, outcome.sha256) == (State.QUARANTINED, 3, None)
    assert "instance 1.2.3 is in quarantine (invalid): it is no DICOM" in caplog.text
