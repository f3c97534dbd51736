"""The gateway put together: a server, and a client of the store of each account that is called."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace

from pynetdicom import _config
from pynetdicom.ae import ApplicationEntity
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    PatientRootQueryRetrieveInformationModelFind,
    PatientStudyOnlyQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from orthanc_gcp import __version__
from orthanc_gcp.auth.token_source import TokenSource
from orthanc_gcp.clock import Clock
from orthanc_gcp.configuration import Settings
from orthanc_gcp.dicomweb import DicomStore, of_account
from orthanc_gcp.errors import ConfigurationError, StoreError
from orthanc_gcp.gateway.association import WorkstationAssociation
from orthanc_gcp.gateway.find import FindService
from orthanc_gcp.gateway.peers import Peers
from orthanc_gcp.gateway.retrieve.destinations import Destinations
from orthanc_gcp.gateway.retrieve.provider import RetrieveProvider
from orthanc_gcp.gateway.retrieve.service import GET_MODELS, MOVE_MODELS, RetrieveService
from orthanc_gcp.gateway.server import Server
from orthanc_gcp.gateway.tls import server_context

__all__ = ["Gateway"]

_log = logging.getLogger(__name__)

_SERVICES = (
    Verification,
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
    PatientStudyOnlyQueryRetrieveInformationModelFind,
    *MOVE_MODELS,
    *GET_MODELS,
)
_EXPLICIT, _IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
"""Little Endian; the deflated one could fill the memory with a small request."""
_LONGEST_TIMEOUT = 86400
_NAME = "ORTHANC-GCP"
_POLL = 0.1
"""Seconds between two looks whether it has to end."""


class Gateway:
    """Answers workstations from the stores of accounts, until it is stopped.

    Raises
    ------
    ConfigurationError
        There is no ``Gateway`` in the configuration, something is wrong with what it needs, or the
        port cannot be had.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        if settings.gateway_problems:
            raise ConfigurationError("; ".join(map(str, settings.gateway_problems)))
        if settings.gateway is None:
            raise ConfigurationError("GoogleCloudPlatform.Gateway: missing, expected an object")
        options, wanted = settings.gateway, set(settings.gateway.aets.values())
        rejected = [settings.rejections[one] for one in sorted(wanted & set(settings.rejected))]
        if rejected:
            raise ConfigurationError("; ".join(rejected))
        # pynetdicom would write what is looked for, and what is found, into its own log.
        _config.LOG_HANDLER_LEVEL = "none"
        accounts = tuple(one for one in settings.accounts if one.name in wanted)
        self._tokens = TokenSource(replace(settings, accounts=accounts), clock)
        self._stores: dict[str, DicomStore] = {}
        try:
            for account in accounts:
                store = of_account(settings, account, self._tokens.authorization)
                self._stores[account.name] = store
        except StoreError as error:
            raise ConfigurationError(str(error)) from error
        self._finder = FindService(
            self._stores, self._tokens.renew, most_answers=options.max_answers
        )
        self._peers = Peers(settings.orthanc, dict(options.aets))
        self._entity = _entity(settings)
        implementation = (
            str(self._entity.implementation_class_uid),
            str(self._entity.implementation_version_name),
        )
        self._retrievals = RetrieveProvider(
            RetrieveService(self._stores, self._tokens.renew),
            self._peers,
            Destinations(settings, implementation),
        )
        try:
            self._server = Server(
                self._entity,
                options.port,
                _contexts(),
                self._association,
                most=options.max_associations,
                tls=server_context(settings),
            )
        except OSError as error:
            raise ConfigurationError(
                f"GoogleCloudPlatform.Gateway.Port: {options.port} cannot be had: {error.strerror}"
            ) from None
        self._stopped = threading.Event()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.port

    def run(self) -> None:
        """Serve until :meth:`stop` is called."""
        self._tokens.start()
        serving = threading.Thread(
            target=self._server.serve_forever, args=(_POLL,), name="gcp-gateway", daemon=True
        )
        serving.start()
        _log.info("the gateway listens on port %d", self.port)
        try:
            self._stopped.wait()
        finally:
            self._server.stop()
            self._finder.close()
            self._tokens.stop()
            for store in self._stores.values():
                store.close()

    def stop(self) -> None:
        """Abort all associations, and end."""
        self._stopped.set()

    def _association(self, crowded: bool, ended: Callable[[], None]) -> WorkstationAssociation:
        return WorkstationAssociation(
            self._entity, self._peers, self._finder, self._retrievals, crowded, ended
        )


def _entity(settings: Settings) -> ApplicationEntity:
    timeout = settings.orthanc.dicom_scp_timeout or _LONGEST_TIMEOUT
    entity = ApplicationEntity(ae_title=_NAME)
    entity.implementation_version_name = f"{_NAME}_{__version__}"[:16]
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = timeout
    entity.maximum_associations = 10**6  # the server counts them
    entity.maximum_pdu_size = settings.orthanc.maximum_pdu_length
    return entity


def _contexts() -> list[PresentationContext]:
    return [build_context(service, [_EXPLICIT, _IMPLICIT]) for service in _SERVICES]
