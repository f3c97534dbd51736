"""The result of a storage commitment, reported over a new association (PS3.4 §J.3.3)."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.presentation import build_role
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]

from orthanc_gcp.configuration import Modality
from orthanc_gcp.ledger.commitments.rows import CommitmentRow, ReferenceRow

__all__ = ["STORAGE_COMMITMENT", "ReportError", "Reporter"]

STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
WELL_KNOWN_INSTANCE = "1.2.840.10008.1.20.1.1"
COMPLETE, FAILURES_EXIST = 1, 2
"""The types of the event."""
_EXPLICIT, _IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
_CONNECTED_WITHIN, _ANSWERED_WITHIN = 10.0, 30.0


class ReportError(Exception):
    """The modality has not taken the report; the message says why."""


@dataclass(frozen=True)
class Reporter:
    """Reports to modalities.

    Attributes
    ----------
    tls
        What a connection to a modality is secured with that wants TLS; None where there is nothing.
    """

    tls: ssl.SSLContext | None = None

    def report(
        self,
        commitment: CommitmentRow,
        references: Sequence[ReferenceRow],
        modality: Modality | None,
    ) -> None:
        """Report what the store is responsible for, and what not.

        Parameters
        ----------
        modality
            Which it is reported to; None if it is not known any more.

        Raises
        ------
        ReportError
            The modality cannot be reached, or does not take it.
        """
        if modality is None:
            raise ReportError("it is no modality of DicomModalities any more")
        association = self._associate(commitment.called_aet, modality)
        is_complete = all(row.failure_reason is None for row in references)
        try:
            status, _ = association.send_n_event_report(
                _information(commitment, references),
                COMPLETE if is_complete else FAILURES_EXIST,
                UID(STORAGE_COMMITMENT),
                UID(WELL_KNOWN_INSTANCE),
            )
        except (RuntimeError, ValueError) as error:
            raise ReportError(f"it ends the association ({type(error).__name__})") from None
        finally:
            if association.is_established:
                association.release()
        code = getattr(status, "Status", None)
        if code is None:
            raise ReportError("it does not answer the report")
        if code != 0x0000 and code >> 12 != 0xB:
            raise ReportError(f"it answers the report with the status {code:04X}")

    def _associate(self, called: str, modality: Modality) -> Association:
        if modality.use_dicom_tls and self.tls is None:
            raise ReportError("it wants TLS, which the DicomTls options have no certificates for")
        try:
            entity = ApplicationEntity(ae_title=called)
        except ValueError:
            raise ReportError("the AE title that it called is none to be called by") from None
        entity.connection_timeout = _CONNECTED_WITHIN
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = _ANSWERED_WITHIN
        entity.add_requested_context(StorageCommitmentPushModel, [_EXPLICIT, _IMPLICIT])
        # The provider asks for the association, and so says that it is the provider (§J.3.3).
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        secured = (self.tls, modality.host) if self.tls and modality.use_dicom_tls else None
        try:
            association = entity.associate(
                modality.host,
                modality.port,
                ae_title=modality.aet,
                ext_neg=[role],
                tls_args=secured,
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise ReportError(f"it cannot be reached ({type(error).__name__})") from None
        if association.is_established:
            return association
        if association.is_rejected:
            raise ReportError("it rejects the association")
        raise ReportError("it cannot be reached, or does not take storage commitment")


def _information(commitment: CommitmentRow, references: Sequence[ReferenceRow]) -> Dataset:
    dataset = Dataset()
    dataset.TransactionUID = commitment.transaction_uid
    dataset.RetrieveAETitle = commitment.called_aet
    committed = [_item(row) for row in references if row.failure_reason is None]
    failed = [_item(row) for row in references if row.failure_reason is not None]
    if committed:
        dataset.ReferencedSOPSequence = committed
    if failed:
        dataset.FailedSOPSequence = failed
    return dataset


def _item(row: ReferenceRow) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = row.sop_class_uid
    item.ReferencedSOPInstanceUID = row.sop_instance_uid
    if row.failure_reason is not None:
        item.FailureReason = row.failure_reason
    return item
