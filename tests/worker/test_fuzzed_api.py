"""The API of a worker in a process of its own, asked what nobody should ask: see torture, too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given

from tests.support.fuzzed_worker import FuzzedWorker, requests
from tests.support.fuzzing import Request, ask, bounded, disturb, mutations


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FuzzedWorker]:
    worker = FuzzedWorker(tmp_path_factory.mktemp("worker"))
    try:
        yield worker
        worker.check()
    finally:
        worker.end()


@bounded(150)
@given(requests())
def test_requests(worker: FuzzedWorker, request_: Request) -> None:
    ask(worker, request_)


@bounded(80)
@given(requests().flatmap(mutations))
def test_what_may_be_no_request(worker: FuzzedWorker, pieces: tuple[bytes, ...]) -> None:
    disturb(worker, pieces)
    assert worker.answers()
