"""Makes what brings instances back: what retrieves, what receives, what looks for priors."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from orthanc_gcp.auth.token_source import TokenSource
from orthanc_gcp.clock import Clock
from orthanc_gcp.configuration import Account, Settings
from orthanc_gcp.custody.destinations.destination import Destination
from orthanc_gcp.dicomweb import of_account
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import Priority
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.outages import Outage
from orthanc_gcp.retrieval.conditions import Conditions
from orthanc_gcp.retrieval.prefetch import Prefetcher
from orthanc_gcp.retrieval.receive.filtering import wanted_by
from orthanc_gcp.retrieval.receive.receiver import Receiver
from orthanc_gcp.retrieval.receive.subscription import (
    Subscription,
    pubsub_transport,
    pubsub_url,
)
from orthanc_gcp.retrieval.remote import Pace, RemoteStore
from orthanc_gcp.retrieval.retriever import Retriever
from orthanc_gcp.retrieval.worklist import WorklistFolder

__all__ = ["Retrieving", "retrieving_parts"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Retrieving:
    """What a worker brings instances back with.

    Attributes
    ----------
    work
        Set when there may be something to retrieve.
    receivers
        One for each subscription that is to be pulled.
    """

    retriever: Retriever
    work: threading.Event
    prefetcher: Prefetcher
    receivers: tuple[Receiver, ...] = ()

    def noticed(self, index: str, studies: Sequence[str]) -> None:
        """Orthanc has received the first instances of studies.

        Raises
        ------
        SQLAlchemyError
            The ledger is away.
        """
        self.prefetcher.noticed(index, studies)

    def stop(self) -> None:
        """Begin nothing more; what still runs is not waited for."""
        self.retriever.stop()
        self.prefetcher.stop()


def retrieving_parts(
    settings: Settings,
    ledger: Ledger,
    rest: OrthancRest,
    orthanc: OrthancSource,
    destinations: Mapping[str, Destination],
    tokens: TokenSource,
    clock: Clock,
    conditions: Conditions,
) -> Retrieving:
    """Make them; nothing is begun.

    Raises
    ------
    StoreError
        The file of ``HttpsCACertificates`` or the proxy's address cannot be used.
    """
    work = threading.Event()
    remotes = {
        account.name: _remote(settings, account, destinations[account.name], tokens, clock)
        for account in settings.accounts
    }
    overwrites = settings.orthanc.overwrite_instances
    retriever = Retriever(
        ledger, rest, orthanc, remotes, clock, conditions, work.set, overwrites=overwrites
    )
    receivers = _receivers(
        settings,
        ledger,
        tokens,
        clock,
        conditions,
        on_request=work.set,
        remotes=remotes,
    )
    prefetcher = Prefetcher(
        settings.prefetch,
        ledger,
        orthanc,
        remotes,
        conditions,
        lambda: clock.utc().astimezone(),
        work.set,
        _worklist(settings),
    )
    return Retrieving(retriever, work, prefetcher, receivers)


def _worklist(settings: Settings) -> WorklistFolder | None:
    if not any("Worklist" in rule.on for rule in settings.prefetch):
        return None
    return WorklistFolder(settings.worklist_folder)


def _remote(
    settings: Settings,
    account: Account,
    destination: Destination,
    tokens: TokenSource,
    clock: Clock,
) -> RemoteStore:
    """An account as a place to retrieve from: within the limits of what is sent there."""
    store = f"account {account.name}: its store"
    outage = Outage(_log, f"{store} gives nothing back", f"{store} gives back again", clock)
    return RemoteStore(
        account=account.name,
        client=of_account(settings, account, tokens.authorization),
        pace=Pace(clock, outage),
        max_requests=account.max_connections,
        wait_for_request=destination.wait_for_request,
        throttles=lambda: destination.byte_throttles(Priority.DEMANDED),
        renew_token=partial(tokens.renew, account.name),
        wants=wanted_by([rule for rule in settings.receive if rule.account == account.name]),
    )


def _receivers(
    settings: Settings,
    ledger: Ledger,
    tokens: TokenSource,
    clock: Clock,
    conditions: Conditions,
    *,
    on_request: Callable[[], None],
    remotes: Mapping[str, RemoteStore],
) -> tuple[Receiver, ...]:
    """One for each subscription that is to be pulled."""
    if not settings.receive:
        return ()
    transport, url = pubsub_transport(settings, clock), pubsub_url(settings)
    paths = {account.name: account.store_path for account in settings.accounts}
    return tuple(
        Receiver(
            rule,
            paths[rule.account],
            Subscription(
                url, rule.subscription, partial(tokens.authorization, rule.account), transport
            ),
            ledger,
            clock,
            conditions,
            partial(tokens.renew, rule.account),
            on_request,
            remotes[rule.account].read_anything,
        )
        for rule in settings.receive
    )
