"""A modality that asks for storage commitment, and takes reports (pynetdicom)."""

from __future__ import annotations

import threading
from typing import Any

from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]

from tests.support.orthanc import free_port, wait_until

INSTANCE = "1.2.840.10008.1.20.1.1"
SECONDARY = "1.2.840.10008.5.1.4.1.1.7"


def add_uid(dataset: Dataset, tag: int, uid: str) -> None:
    """Also one that is none."""
    dataset.add(DataElement(tag, "UI", uid, validation_mode=config.IGNORE))


def information(transaction: str, *uids: str, sop_class: str = SECONDARY) -> Dataset:
    dataset = Dataset()
    add_uid(dataset, 0x00081195, transaction)
    dataset.ReferencedSOPSequence = []
    for uid in uids:
        item = Dataset()
        add_uid(item, 0x00081150, sop_class)
        add_uid(item, 0x00081155, uid)
        dataset.ReferencedSOPSequence.append(item)
    return dataset


class Modality:
    """Listens for reports; answers with the statuses that it is given, and then with success."""

    def __init__(self, *statuses: int, roles: bool = True) -> None:
        self.port = free_port()
        self.reports: list[tuple[int, Dataset, str]] = []
        self._statuses, self._roles = list(statuses), roles
        self._lock = threading.Lock()
        self._server: Any = None

    def listen(self) -> None:
        entity = ApplicationEntity(ae_title="MODALITY")
        more = {"scu_role": True, "scp_role": True} if self._roles else {}
        entity.add_supported_context(StorageCommitmentPushModel, **more)
        self._server = entity.start_server(
            ("127.0.0.1", self.port),
            block=False,
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._take)],
        )

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()

    def _take(self, event: Any) -> tuple[int, None]:
        with self._lock:
            calling = event.assoc.requestor.ae_title
            self.reports.append((event.event_type, event.event_information, calling))
            return (self._statuses.pop(0) if self._statuses else 0), None

    def ask(
        self,
        port: int,
        dataset: Dataset | None,
        *,
        calling: str = "MODALITY",
        action: int = 1,
        instance: str = INSTANCE,
    ) -> int:
        """The status of an N-ACTION."""
        entity = ApplicationEntity(ae_title=calling)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
        entity.add_requested_context(StorageCommitmentPushModel)
        association = entity.associate("127.0.0.1", port, ae_title="GOOGLE")
        assert association.is_established
        try:
            status, _ = association.send_n_action(
                dataset, action, StorageCommitmentPushModel, instance
            )
            return int(status.Status)
        finally:
            association.release()

    def wait_for_reports(self, count: int = 1, within: float = 30) -> list[tuple[int, Any, str]]:
        wait_until(lambda: len(self.reports) >= count, within, lambda: str(self.reports))
        return self.reports


def failures(report: Dataset) -> dict[str, int]:
    """SOP Instance UID -> the reason of its failure."""
    return {
        one.ReferencedSOPInstanceUID: one.FailureReason
        for one in report.get("FailedSOPSequence", [])
    }


def committed(report: Dataset) -> list[str]:
    return [one.ReferencedSOPInstanceUID for one in report.get("ReferencedSOPSequence", [])]
