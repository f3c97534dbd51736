"""An emulator in a process of its own, asked what nobody should ask: see torture, too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fuzzed_emulator import (
    FuzzedEmulator,
    Request,
    chunks,
    everything,
    objects,
    patches,
    retrievals,
    searches,
    storing,
    upload,
)
from tests.support.fuzzed_files import files
from tests.support.fuzzing import ask, bounded, disturb, mutations


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FuzzedEmulator]:
    emulator = FuzzedEmulator(tmp_path_factory.mktemp("fuzzed"))
    try:
        yield emulator
        emulator.check()
    finally:
        emulator.end()


@bounded(60)
@given(files(), st.lists(retrievals() | patches | searches, min_size=3, max_size=3))
def test_files(fuzzed: FuzzedEmulator, content: bytes, asked: list[Request]) -> None:
    ask(fuzzed, storing(content))
    for request in asked:
        ask(fuzzed, request)
    fuzzed.empty()


@bounded(200)
@given(everything)
def test_requests(fuzzed: FuzzedEmulator, request_: Request) -> None:
    ask(fuzzed, request_)


@bounded(30)
@given(objects(), st.lists(chunks(), max_size=3))
def test_uploads(
    fuzzed: FuzzedEmulator, request_: Request, going_on: list[tuple[str, bytes, str]]
) -> None:
    upload(fuzzed, request_, going_on)


@bounded(60)
@given(everything.flatmap(mutations))
def test_what_may_be_no_request(fuzzed: FuzzedEmulator, pieces: tuple[bytes, ...]) -> None:
    disturb(fuzzed, pieces)
    assert fuzzed.answers()
