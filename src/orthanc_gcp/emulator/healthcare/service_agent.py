"""The service agent: who reads and writes Cloud Storage when instances are imported and exported.

Source: Healthcare API, "Controlling access to other Google Cloud products" (service agent).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO

from orthanc_gcp.emulator.auth.identities import Identities
from orthanc_gcp.emulator.cloud_storage.buckets import Buckets, UnavailableError
from orthanc_gcp.emulator.cloud_storage.object_uri import ObjectUri
from orthanc_gcp.emulator.faults.fault_settings import FaultSettings

__all__ = ["ServiceAgent"]


class ServiceAgent:
    """The buckets, as far as the service agent of the project may use them.

    The fault settings take its permissions away: ``deniedPermissions``, or all by ``strangers``.
    Methods raise :class:`UnavailableError` then, and as those of :class:`Buckets` do.
    """

    def __init__(
        self, buckets: Buckets, identities: Identities, fault_settings: FaultSettings
    ) -> None:
        self._buckets, self._identities = buckets, identities
        self._fault_settings = fault_settings

    @property
    def email(self) -> str:
        """The address of the account, by the number of the project."""
        number = self._identities.pools.project_number
        return f"service-{number}@gcp-sa-healthcare.iam.gserviceaccount.com"

    def find(self, uri: ObjectUri) -> Iterator[str]:
        """Yield the objects that an address with wildcards means, by name."""
        self._require("storage.objects.list")
        return self._buckets.find(uri)

    def open(self, uri: ObjectUri) -> AbstractContextManager[BinaryIO]:
        """Open an object for reading."""
        self._require("storage.objects.get")
        return self._buckets.open(uri)

    def create(self, uri: ObjectUri) -> AbstractContextManager[BinaryIO]:
        """Open an object for writing."""
        self._require("storage.objects.create")
        return self._buckets.create(uri)

    def _require(self, permission: str) -> None:
        settings = self._fault_settings.current
        if permission in settings.denied_permissions or self.email in settings.strangers:
            raise UnavailableError(
                f"{self.email} does not have {permission} access to the Google Cloud Storage "
                f"bucket. Permission '{permission}' denied on resource (or it may not exist)."
            )
