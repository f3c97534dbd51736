"""Every method that begins an operation has something that carries it out."""

from __future__ import annotations

from inspect import isfunction

from orthanc_gcp.emulator.api_methods import DATASET_METHODS, LOCATION_METHODS
from orthanc_gcp.emulator.operation_handlers import WORK


def test_the_names_are_those_of_methods() -> None:
    methods = {method.rpc.rpartition(".")[2] for method in (*DATASET_METHODS, *LOCATION_METHODS)}
    assert WORK.keys() <= methods
    assert all(map(isfunction, WORK.values()))
