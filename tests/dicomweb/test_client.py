"""The client of a store against the emulator."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from orthanc_gcp.dicomweb import DicomStore, InstanceResult, InstanceStatus
from orthanc_gcp.transport.authorization import Authorization
from tests.dicomweb.parts import new_part, part_from, part_of
from tests.emulator.client import make_dicom


def contents(store, part):
    with store.open(*part.uids) as pieces:
        return b"".join(pieces)


def outcomes(stored):
    return [result.status for result in stored.results.values()]


def test_files_of_all_sizes_arrive_as_they_are(store):
    sizes = (0, 10, 65_000, 65_536, 262_144, 700_000, 3_000_000)
    files = [make_dicom(b"x" * size) for size in sizes]
    for piece in (1000, 100_000, 1_000_000):
        parts = [part_of(file, piece) for file in files]
        stored = store.store(parts)
        assert stored.results == {
            part.sop_instance_uid: InstanceResult(InstanceStatus.STORED) for part in parts
        }
        assert stored.bytes_sent > sum(len(file) for file in files)
        assert stored.request_seconds > 0
    assert [contents(store, part) for part in parts] == files


def test_the_same_file_again_is_stored_and_another_one_is_a_conflict(client, store):
    one, two = make_dicom(), make_dicom()
    store.store([part_of(one)])
    other = make_dicom(
        b"other",
        **{
            name: getattr(part_of(one), field)
            for name, field in (
                ("StudyInstanceUID", "study_instance_uid"),
                ("SeriesInstanceUID", "series_instance_uid"),
                ("SOPInstanceUID", "sop_instance_uid"),
            )
        },
    )
    assert outcomes(store.store([part_of(one)])) == [InstanceStatus.STORED]
    mixed = store.store([part_of(other), part_of(two)])
    assert mixed.results == {
        part_of(one).sop_instance_uid: InstanceResult(
            InstanceStatus.CONFLICT, "already exists", 272
        ),
        part_of(two).sop_instance_uid: InstanceResult(InstanceStatus.STORED),
    }
    assert contents(store, part_of(one)) == one
    newer = DicomStore(client.web.replace("/v1/", "/v1beta1/"), lambda: Authorization(client.token))
    assert outcomes(newer.store([part_of(other)], replace=True)) == [InstanceStatus.STORED]
    assert contents(store, part_of(one)) == other


def test_a_file_that_is_none_is_invalid(store):
    """The store cannot name it: it is the one that is left over."""
    good, bad = new_part(), part_from([b"no DICOM"], 8)
    stored = store.store([good, bad])
    assert outcomes(stored) == [InstanceStatus.STORED, InstanceStatus.INVALID]
    assert stored.results["1.2.3"].detail.startswith("invalid DICOM instance")


def test_a_file_with_other_uids_than_announced_is_not_acknowledged(store):
    part = new_part()
    stored = store.store([replace(part, sop_instance_uid="1.2.3")])
    assert outcomes(stored) == [InstanceStatus.UNACKNOWLEDGED]
    (result,) = stored.results.values()
    assert f"does not name it, but {part.sop_instance_uid}, which nobody sent" in result.detail
    elsewhere = new_part()
    stored = store.store([replace(elsewhere, series_instance_uid="1.2.3")])
    assert outcomes(stored) == [InstanceStatus.UNACKNOWLEDGED]
    assert "another study or series" in stored.results[elsewhere.sop_instance_uid].detail


def test_a_request_has_each_instance_once(store):
    part = new_part()
    with pytest.raises(ValueError, match="of their own"):
        store.store([part, replace(part, series_instance_uid="1.2.3")])
    with pytest.raises(ValueError, match="of their own"):
        store.store([])


def test_several_threads_share_one_client(store):
    """Each gets the answers to its own requests."""
    batches = [[new_part(b"x" * 100_000) for _ in range(5)] for _ in range(24)]
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(store.store, batches))
    for batch, stored in zip(batches, answers, strict=True):
        assert stored.results == {
            part.sop_instance_uid: InstanceResult(InstanceStatus.STORED) for part in batch
        }
