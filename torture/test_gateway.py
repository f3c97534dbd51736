"""The gateway under failures of stores and destinations, and with what is larger than memory."""

# ruff: noqa: S101

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import urllib3

from tests.emulator.client import multipart
from tests.gateway.retrieve.scp import EXPLICIT, IMPLICIT, SECONDARY, data_set_of, receiving
from tests.gateway.scu import keys, move
from tests.retrieval.test_retriever import uids
from tests.support.emulator import STORE_PATH, Emulator
from tests.support.gateway import GatewayProcess
from tests.support.site import make_instance, make_study

PLAIN = {SECONDARY: [EXPLICIT, IMPLICIT]}
FAULTS = (
    {"status": 503},
    {"status": 429, "retryAfter": 1},
    {"status": 500, "html": True},
    {"status": 401},
    {"cut": "reset"},
    {"cut": "truncate"},
    {"cut": "resetAnswer"},
    {"delay": 0.2},
    {"tokenDies": True},
)
"""Every way of failing that says nothing of an instance."""


def fill(emulator: Emulator, *files: bytes) -> None:
    answer = urllib3.request(
        "POST",
        f"{emulator.url}/v1/{STORE_PATH}/dicomWeb/studies",
        body=multipart(files, "b0undary"),
        headers={
            **emulator.bearer(),
            "Content-Type": 'multipart/related; type="application/dicom"; boundary=b0undary',
        },
        timeout=120,
    )
    assert answer.status == 200, answer.data


def test_whatever_fails_all_arrives(tmp_path: Path, blows: int, seed: int) -> None:
    print(f"\n{blows} blows, seed {seed}", flush=True)
    chance = random.Random(seed)  # noqa: S311
    emulator = Emulator(tmp_path, "--admin")
    acknowledged: list[str] = []

    def answer(_received: Any, event: Any) -> int:
        if chance.random() < 0.05:
            event.assoc.abort(block=False)
            time.sleep(0.05)
            return 0xC000
        acknowledged.append(str(event.request.AffectedSOPInstanceUID))
        return 0

    try:
        with (
            receiving(PLAIN, answer) as received,
            GatewayProcess(
                tmp_path, emulator, {"dest": ["DEST", "127.0.0.1", received.port]}
            ) as gateway,
        ):
            for _ in range(min(blows, 20)):
                files = make_study(2, 20, size=chance.choice((16, 600)))
                fill(emulator, *files)
                emulator.switch(
                    faults=[
                        {
                            "method": "GET",
                            "path": "/studies/",
                            "probability": 0.3,
                            "count": 6,
                            **fault,
                        }
                        for fault in chance.sample(FAULTS, k=2)
                    ]
                )
                acknowledged.clear()
                study = uids(files[0])[0]
                found, _, _ = move(gateway.port, keys("STUDY", StudyInstanceUID=study))
                emulator.switch(faults=[])
                assert (found.Status, found.NumberOfCompletedSuboperations) == (0, 40), found
                assert {received.data_sets[uids(one)[2]] for one in files} == set(
                    map(data_set_of, files)
                )
                assert len(acknowledged) == len(set(acknowledged)) == 40
    finally:
        emulator.stop()


def test_a_large_instance_is_never_in_memory(tmp_path: Path) -> None:
    emulator = Emulator(tmp_path)
    try:
        file = make_instance(size=32000)  # 1 GB
        fill(emulator, file)
        study = uids(file[:5000] + file[-1:])[0]
        with (
            receiving(PLAIN) as received,
            GatewayProcess(
                tmp_path, emulator, {"dest": ["DEST", "127.0.0.1", received.port]}
            ) as gateway,
        ):
            found, _, _ = move(gateway.port, keys("STUDY", StudyInstanceUID=study))
            status = Path(f"/proc/{gateway.pid}/status").read_text()
            most = int(status.partition("VmHWM:")[2].split()[0])
        assert (found.Status, found.NumberOfCompletedSuboperations) == (0, 1)
        assert most < 250_000  # KiB
        assert received.data_sets.popitem()[1] == data_set_of(file)
    finally:
        emulator.stop()
