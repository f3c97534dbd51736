"""Jobs: what they count and show, and how they end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orthanc_gcp.emulator.auth.identities import Identities
from orthanc_gcp.emulator.cloud_storage.buckets import Buckets
from orthanc_gcp.emulator.dicom.imaging_pool import ImagingPool
from orthanc_gcp.emulator.faults.fault_settings import FaultSettings
from orthanc_gcp.emulator.healthcare.jobs import Code, Job, OperationError, StoppedError
from orthanc_gcp.emulator.healthcare.service_agent import ServiceAgent
from orthanc_gcp.emulator.storage.storage import Storage

METHOD = "google.cloud.healthcare.v1.dicom.DicomService.ImportDicomData"


@pytest.fixture
def job(tmp_path: Path, identities: Path) -> Iterator[Job]:
    settings = FaultSettings()
    agent = ServiceAgent(Buckets(None), Identities(identities, "osimis-test"), settings)
    with closing(Storage(tmp_path)) as storage:
        body = {"name": "operations/1", "metadata": {"apiMethodName": METHOD}}
        yield Job(storage, agent, ImagingPool(), settings, body, {}, None, time.time)


def test_what_it_is_called(job: Job) -> None:
    assert (job.name, job.method) == ("operations/1", "ImportDicomData")


def test_numbers_are_text_and_zeros_are_left_out(job: Job) -> None:
    assert job.body() == {"name": "operations/1", "metadata": {"apiMethodName": METHOD}}
    job.count(success=2, pending=7)
    job.count(success=1, failure=1)
    counter = {"success": "3", "failure": "1"}
    assert job.body()["metadata"] == {"apiMethodName": METHOD, "counter": counter}
    ended = job.body(metadata={"endTime": "now"}, done=True)
    assert ended["metadata"] == {"apiMethodName": METHOD, "counter": counter, "endTime": "now"}
    assert ended["done"] is True


def test_a_job_goes_on_until_it_is_cancelled(job: Job) -> None:
    job.check()
    job.cancel()
    with pytest.raises(OperationError) as ended:
        job.check()
    assert ended.value.code == Code.CANCELLED
    assert job.body()["metadata"]["cancelRequested"] is True


def test_the_first_reason_to_end_counts(job: Job) -> None:
    job.stop()
    job.cancel()
    with pytest.raises(StoppedError):
        job.check()


@pytest.mark.parametrize("method", ["cancel", "stop"])
def test_waiting_ends_with_the_job(job: Job, method: str) -> None:
    async def wait() -> None:
        asyncio.get_running_loop().call_later(0.05, getattr(job, method))
        await job.wait(60)

    started = time.monotonic()
    with pytest.raises((OperationError, StoppedError)):
        asyncio.run(wait())
    assert time.monotonic() - started < 30


def test_waiting_takes_its_time(job: Job) -> None:
    started = time.monotonic()
    asyncio.run(job.wait(0.1))
    assert time.monotonic() - started >= 0.1


def test_a_job_is_no_faster_than_the_throughput(job: Job) -> None:
    job.fault_settings.change(operationThroughput=50)
    job.count(success=10**6)  # before the emulator was started again
    job.check()
    started = time.monotonic()
    for _ in range(3):
        job.count(success=2, failure=1)
        job.check()
        job.check()
    assert time.monotonic() - started >= 9 / 50
    assert job.failures == 3


@pytest.mark.parametrize("method", ["cancel", "stop"])
def test_a_slow_job_ends_at_once(job: Job, method: str) -> None:
    job.fault_settings.change(operationThroughput=0.001)
    job.check()
    job.count(success=1000)
    timer = threading.Timer(0.05, getattr(job, method))
    timer.start()
    started = time.monotonic()
    with pytest.raises((OperationError, StoppedError)):
        job.check()
    assert time.monotonic() - started < 30
    timer.join()
