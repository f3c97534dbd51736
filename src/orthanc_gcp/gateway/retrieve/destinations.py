"""Modalities of Orthanc's configuration as destinations of C-MOVE."""

from __future__ import annotations

from orthanc_gcp.configuration import Modality, Settings
from orthanc_gcp.gateway.retrieve.store_scu import Destination
from orthanc_gcp.gateway.tls import client_context

__all__ = ["Destinations"]

_LONGEST_TIMEOUT = 86400


class Destinations:
    """How this program connects to modalities: as Orthanc would, by the same options.

    Parameters
    ----------
    implementation
        Implementation Class UID and Implementation Version Name of this program.

    Raises
    ------
    ConfigurationError
        A modality has ``UseDicomTls``, and a file that TLS needs is not named, or cannot be used.
    """

    def __init__(self, settings: Settings, implementation: tuple[str, str]) -> None:
        self._settings, self._options = settings, settings.orthanc
        self._implementation = implementation
        wanted = any(one.use_dicom_tls for one in self._options.dicom_modalities)
        self._tls = client_context(settings) if wanted else None

    def __call__(self, modality: Modality) -> Destination:
        """A modality as a destination; it may be none of the configuration.

        Raises
        ------
        ConfigurationError
            It has ``UseDicomTls``, and a file that TLS needs is not named, or cannot be used.
        """
        if modality.use_dicom_tls and self._tls is None:
            self._tls = client_context(self._settings)
        return Destination(
            modality.aet,
            modality.host,
            modality.port,
            modality.local_aet or self._options.dicom_aet,
            modality.timeout or self._options.dicom_scu_timeout or _LONGEST_TIMEOUT,
            self._options.maximum_pdu_length,
            self._implementation,
            self._tls if modality.use_dicom_tls else None,
        )
