"""The context that a handler gets with a request, and the services that it works with."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO

from starlette.requests import Request

from orthanc_gcp.emulator.auth.access_tokens import TokenMint
from orthanc_gcp.emulator.auth.iam_policies import IamPolicies, Resource
from orthanc_gcp.emulator.auth.identities import Identities
from orthanc_gcp.emulator.cloud_storage.buckets import Buckets
from orthanc_gcp.emulator.dicom.imaging_pool import ImagingPool
from orthanc_gcp.emulator.faults.fault_settings import FaultSettings
from orthanc_gcp.emulator.faults.rules import ActiveFault
from orthanc_gcp.emulator.healthcare.operations import Operations
from orthanc_gcp.emulator.healthcare.service_agent import ServiceAgent
from orthanc_gcp.emulator.http.recent_requests import RecentRequests
from orthanc_gcp.emulator.http.requests import origin
from orthanc_gcp.emulator.http.responses import Refusal, permission_denied, resource_not_found
from orthanc_gcp.emulator.resource_names import DatasetName, LocationName, StoreName
from orthanc_gcp.emulator.storage.instances import StoredInstance
from orthanc_gcp.emulator.storage.records import InstanceKey
from orthanc_gcp.emulator.storage.storage import Storage

__all__ = ["RequestContext", "Services", "resource_of"]


@dataclass(frozen=True)
class Services:
    """Everything that lives as long as the emulator; ``recent`` where somebody may see it."""

    storage: Storage
    identities: Identities
    mint: TokenMint
    policies: IamPolicies
    fault_settings: FaultSettings
    operations: Operations
    agent: ServiceAgent
    buckets: Buckets
    imaging: ImagingPool
    clock: Callable[[], float]
    recent: RecentRequests | None = None


@dataclass(frozen=True)
class RequestContext:
    """The context of one request to a known method of the API, by somebody who may call it.

    ``version`` is that of the API, and ``names`` are the parts of the path by their kind: project,
    location, dataset, store, study, series, instance, frames, bulk, operation.

    ``rpc`` and ``permission`` are Google's names for the method and for what it takes to call it;
    ``identity`` is who calls it; ``active_fault`` is the fault that it meets, if any.
    """

    request: Request
    services: Services
    version: str
    names: dict[str, str]
    rpc: str
    permission: str
    identity: str
    active_fault: ActiveFault | None = None

    @property
    def resource(self) -> Resource:
        """The store, or the dataset or location when the path names none."""
        return resource_of(self.names)

    def resource_exists(self) -> bool:
        if "store" in self.names:
            return self.storage.resources.store_id(self.store) is not None
        return self.storage.resources.has_dataset(self.dataset)

    async def wait_for_instances(self, number: int) -> None:
        """Let the time pass that fault settings ask for so many further instances of a request."""
        seconds = self.services.fault_settings.current.instance_latency * number
        if seconds > 0:
            await asyncio.sleep(seconds)

    @property
    def location(self) -> LocationName:
        return LocationName(self.names["project"], self.names.get("location", ""))

    @cached_property
    def dataset(self) -> DatasetName:
        return self.location.dataset(self.names["dataset"])

    @cached_property
    def store(self) -> StoreName:
        return self.dataset.store(self.names["store"])

    @property
    def storage(self) -> Storage:
        return self.services.storage

    @property
    def imaging(self) -> ImagingPool:
        return self.services.imaging

    def store_id(self) -> int:
        """Return the row of the store; raise :class:`Refusal` when there is none."""
        store_id = self.storage.resources.store_id(self.store)
        if store_id is None:
            raise self.missing(str(self.store))
        return store_id

    def instances(self) -> list[StoredInstance]:
        """Return the instances that the path names; raise :class:`Refusal` when there is none."""
        names = self.names
        found = self.storage.index.instances(
            self.store_id(), names["study"], names.get("series"), names.get("instance")
        )
        if not found:
            raise self.missing_path()
        return found

    async def find_instances(self) -> list[StoredInstance]:
        """Return what :meth:`instances` does, in a thread where they may be many."""
        if "instance" in self.names:
            return self.instances()
        return await asyncio.to_thread(self.instances)

    def open_current(self, instance: StoredInstance) -> tuple[StoredInstance, int]:
        """Return an instance that was found as it is now, and a descriptor of its file.

        Raises FileNotFoundError when it, or the store, was deleted since.
        """
        store_id = self.storage.resources.store_id(self.store)
        if store_id is None:
            raise FileNotFoundError(instance.file)
        return self.storage.open_current(store_id, instance)

    def open_instance(self) -> tuple[StoredInstance, BinaryIO]:
        """Return the instance of the path and its file; raise :class:`Refusal` without one."""
        (instance,) = self.instances()
        try:
            instance, descriptor = self.open_current(instance)
        except FileNotFoundError:
            raise self.missing(instance.key.path) from None
        return instance, os.fdopen(descriptor, "rb")

    def require_dataset(self) -> None:
        """Raise :class:`Refusal` when there is no such dataset."""
        if not self.storage.resources.has_dataset(self.dataset):
            raise self.missing(str(self.dataset))

    def missing(self, resource: str) -> Refusal:
        """Return the refusal of something that there is not.

        At Google it is the 403 of what may not be seen; the fault settings can make it a 404. The
        control plane says 404 of what is missing in a dataset that is there, or was just deleted.
        """
        settings = self.services.fault_settings.current
        if settings.missing_resource == 404 or self._is_in_known_dataset():
            return Refusal(resource_not_found(resource))
        return Refusal(permission_denied(self.permission, resource))

    def _is_in_known_dataset(self) -> bool:
        if "dataset" not in self.names or self._is_dicomweb:
            return False
        resources = self.storage.resources
        return resources.has_dataset(self.dataset) or resources.was_deleted(self.dataset)

    @property
    def _is_dicomweb(self) -> bool:
        path = f"/{self.version}/{self.resource}/dicomWeb/"
        return str(self.request.scope["path"]).startswith(path)

    def missing_path(self) -> Refusal:
        """Return the refusal of what the path as a whole names."""
        _, _, resource = self.request.scope["path"].partition(f"/{self.version}/")
        return self.missing(resource)

    @cached_property
    def dicomweb_url(self) -> str:
        """The address of the store as the client knows it."""
        return f"{origin(self.request)}/{self.version}/{self.store}/dicomWeb"

    def instance_url(self, key: InstanceKey) -> str:
        """The address of an instance of the store."""
        return f"{self.dicomweb_url}/{key.path}"


def resource_of(names: dict[str, str]) -> Resource:
    """Return what a path is about, and policies decide on, by the names in it."""
    location = LocationName(names["project"], names.get("location", ""))
    if "dataset" not in names:
        return location
    dataset = location.dataset(names["dataset"])
    return dataset.store(names["store"]) if "store" in names else dataset
