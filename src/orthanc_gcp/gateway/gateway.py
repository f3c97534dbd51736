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
from orthanc_gcp.configuration import GatewayOptions, Settings
from orthanc_gcp.dicomweb import DicomStore, of_account
from orthanc_gcp.errors import AddressInUseError, ConfigurationError, StoreError
from orthanc_gcp.gateway.association import WorkstationAssociation
from orthanc_gcp.gateway.commitment.report import STORAGE_COMMITMENT, Reporter
from orthanc_gcp.gateway.commitment.service import CommitmentService
from orthanc_gcp.gateway.figures import Figures
from orthanc_gcp.gateway.find import FindService
from orthanc_gcp.gateway.for_orthanc.service import ForOrthanc, for_orthanc
from orthanc_gcp.gateway.peers import Peers
from orthanc_gcp.gateway.retrieve.destinations import Destinations
from orthanc_gcp.gateway.retrieve.limits import Bookings, LimitsOf, unlimited
from orthanc_gcp.gateway.retrieve.provider import RetrieveProvider
from orthanc_gcp.gateway.retrieve.service import GET_MODELS, MOVE_MODELS, RetrieveService
from orthanc_gcp.gateway.searched_patients import SearchedPatients
from orthanc_gcp.gateway.server import Server
from orthanc_gcp.gateway.status import GatewayStatus
from orthanc_gcp.gateway.store import STORAGE_CLASSES, TRANSFER_SYNTAXES, StoreService
from orthanc_gcp.gateway.tls import client_context, server_context
from orthanc_gcp.ledger import database
from orthanc_gcp.ledger.destinations import stores_of
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.orthanc.find import FindLimits, find_limits
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest

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

    Parameters
    ----------
    orthanc
        What is given the instances that workstations store; None where they cannot.
    limits
        Makes what holds back C-MOVE and C-GET, of where it stands until when caps are used up.

    Attributes
    ----------
    for_orthanc
        What answers Orthanc's own DICOM server; None where that answers by itself.

    Raises
    ------
    ConfigurationError
        There is no ``Gateway`` in the configuration, or something is wrong with what it needs.
    AddressInUseError
        The port cannot be had.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        orthanc: OrthancRest | None = None,
        limits: Callable[[Settings, Bookings], LimitsOf] = lambda *_: unlimited,
    ) -> None:
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
        ledger = _ledger(settings)
        self._searched = _searched(settings, ledger, orthanc)
        self._finder = FindService(
            self._stores,
            self._tokens.renew,
            most_answers=options.max_answers,
            on_match=(lambda *_: None) if self._searched is None else self._searched.found,
        )
        self._figures = Figures()
        self._storing = None if orthanc is None else StoreService(orthanc)
        self._peers = Peers(settings.orthanc, dict(options.aets))
        self._committing = self._commitments(settings, options, orthanc, ledger)
        self._entity = _entity(settings)
        implementation = (
            str(self._entity.implementation_class_uid),
            str(self._entity.implementation_version_name),
        )
        destinations = Destinations(settings, implementation)
        limits_of = limits(settings, Bookings(ledger))
        self._retrieving = RetrieveService(self._stores, self._tokens.renew, limits_of)
        self._retrievals = RetrieveProvider(self._retrieving, self._peers, destinations)
        self.for_orthanc = self._for_orthanc(
            options, orthanc, destinations, limits_of, find_limits(settings)
        )
        try:
            self._server = Server(
                self._entity,
                options.port,
                _contexts(stores=orthanc is not None, commits=self._committing is not None),
                self._association,
                most=options.max_associations,
                tls=server_context(settings),
            )
        except OSError as error:
            raise AddressInUseError(
                f"GoogleCloudPlatform.Gateway.Port: {options.port} cannot be had: {error.strerror}"
            ) from None
        self._stopped = threading.Event()
        self._since = clock.utc().timestamp()

    def _commitments(
        self,
        settings: Settings,
        options: GatewayOptions,
        orthanc: OrthancRest | None,
        ledger: Ledger | None,
    ) -> CommitmentService | None:
        """Storage commitment; None where there is no ledger for it."""
        if ledger is None:
            return None
        wanted = any(one.use_dicom_tls for one in settings.orthanc.dicom_modalities)
        reporter = Reporter(client_context(settings) if wanted else None)
        timeout = float(options.commitment_timeout_seconds)
        stores, peers = self._stores, self._peers
        renew = self._tokens.renew
        return CommitmentService(ledger, stores, peers, reporter, orthanc, timeout, renew)

    def _for_orthanc(
        self,
        options: GatewayOptions,
        orthanc: OrthancRest | None,
        destinations: Destinations,
        limits: LimitsOf,
        of_queries: FindLimits,
    ) -> ForOrthanc | None:
        if orthanc is None or not options.answer_for_orthanc:
            return None
        return for_orthanc(
            orthanc,
            self._finder,
            self._stores,
            self._tokens.renew,
            self._figures,
            self._peers,
            destinations,
            options.max_answers,
            limits,
            of_queries,
        )

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.port

    def status(self) -> GatewayStatus:
        """How it is, and what it has answered."""
        return GatewayStatus(
            self._since,
            self.port,
            self._server.associations,
            self._server.most,
            {account: self._tokens.problem(account) for account in self._stores},
            self._figures.responses(),
            None if self._committing is None else self._committing.open(),
        )

    def run(self) -> None:
        """Serve until :meth:`stop` is called."""
        self._tokens.start()
        serving = threading.Thread(
            target=self._server.serve_forever, args=(_POLL,), name="gcp-gateway", daemon=True
        )
        serving.start()
        if self._committing is not None:
            self._committing.start()
        _log.info("the gateway listens on port %d", self.port)
        try:
            self._stopped.wait()
        finally:
            self._server.stop()
            if self._committing is not None:
                self._committing.stop()
            self._finder.close()
            if self._searched is not None:
                self._searched.close()
            if self.for_orthanc is not None:
                self.for_orthanc.close()
            self._retrieving.close()
            self._tokens.stop()
            for store in self._stores.values():
                store.close()

    def stop(self) -> None:
        """Abort all associations, and end."""
        self._stopped.set()

    def _association(self, crowded: bool, ended: Callable[[], None]) -> WorkstationAssociation:
        return WorkstationAssociation(
            self._entity,
            self._peers,
            self._finder,
            self._retrievals,
            crowded,
            ended,
            self._figures,
            self._storing,
            self._committing,
        )


def _ledger(settings: Settings) -> Ledger | None:
    """The ledger; None where it has not been said where it is."""
    try:
        engine = database.connect(database.url_for(settings))
    except ConfigurationError as error:
        _log.warning("storage commitment is not offered: %s", error)
        return None
    return Ledger(engine, stores=stores_of(settings))


def _searched(
    settings: Settings, ledger: Ledger | None, orthanc: OrthancRest | None
) -> SearchedPatients | None:
    """What notes whose priors are to be fetched; None where no rule wants it, or it cannot be."""
    accounts = {rule.account for rule in settings.prefetch if "Query" in rule.on}
    if not accounts:
        return None
    if ledger is None or orthanc is None:
        words = "the priors of patients that are searched for are not fetched: %s"
        _log.warning(words, "it needs the ledger, and Orthanc's REST API")
        return None
    source = OrthancSource(orthanc, settings.storage_folder)
    return SearchedPatients(ledger, accounts, source.name)


def _entity(settings: Settings) -> ApplicationEntity:
    timeout = settings.orthanc.dicom_scp_timeout or _LONGEST_TIMEOUT
    entity = ApplicationEntity(ae_title=_NAME)
    entity.implementation_version_name = f"{_NAME}_{__version__}"[:16]
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = timeout
    entity.maximum_associations = 10**6  # the server counts them
    entity.maximum_pdu_size = settings.orthanc.maximum_pdu_length
    return entity


def _contexts(*, stores: bool, commits: bool) -> list[PresentationContext]:
    services = (*_SERVICES, STORAGE_COMMITMENT) if commits else _SERVICES
    storage = sorted(STORAGE_CLASSES) if stores else []
    return [
        *(build_context(service, [_EXPLICIT, _IMPLICIT]) for service in services),
        *(build_context(service, list(TRANSFER_SYNTAXES)) for service in storage),
    ]
