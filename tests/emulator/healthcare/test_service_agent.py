"""The service agent: its name, and what it may do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orthanc_gcp.emulator.auth.identities import Identities
from orthanc_gcp.emulator.cloud_storage.buckets import Buckets, UnavailableError
from orthanc_gcp.emulator.cloud_storage.object_uri import ObjectUri
from orthanc_gcp.emulator.faults.fault_settings import FaultSettings
from orthanc_gcp.emulator.healthcare.service_agent import ServiceAgent

URI = ObjectUri("scans", "a")


def what_works(agent: ServiceAgent) -> set[str]:
    calls: dict[str, Callable[[], Any]] = {
        "list": lambda: next(agent.find(URI)),
        "get": lambda: agent.open(URI),
        "create": lambda: agent.create(URI),
    }
    found = set()
    for name, call in calls.items():
        try:
            call()
            found.add(name)
        except UnavailableError as error:
            assert f"storage.objects.{name}" in str(error)
    return found


def test_each_permission_is_for_itself(tmp_path: Path, identities: Path) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "a").write_bytes(b"1")
    settings = FaultSettings()
    agent = ServiceAgent(Buckets(tmp_path), Identities(identities, "osimis-test"), settings)
    assert agent.email.startswith("service-")
    assert agent.email.endswith("@gcp-sa-healthcare.iam.gserviceaccount.com")
    everything = {"list", "get", "create"}
    assert what_works(agent) == everything
    for name in sorted(everything):
        settings.change(deniedPermissions=[f"storage.objects.{name}"])
        assert what_works(agent) == everything - {name}
    settings.change(deniedPermissions=[], strangers=[agent.email])
    assert what_works(agent) == set()


def test_without_buckets(identities: Path) -> None:
    agent = ServiceAgent(Buckets(None), Identities(identities, "osimis-test"), FaultSettings())
    with pytest.raises(UnavailableError):
        next(agent.find(URI))
