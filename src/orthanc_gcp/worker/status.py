"""What a worker shows of itself: by its API, to the webhook, to Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from orthanc_gcp.auth.token_source import TokenSource
from orthanc_gcp.clock import Clock
from orthanc_gcp.custody.destinations.destination import Destination
from orthanc_gcp.custody.reporting.overview import AccountOverview, Overview
from orthanc_gcp.custody.reporting.problems import Problem
from orthanc_gcp.retrieval.receive.receiver import Receiver
from orthanc_gcp.worker.samples import Sample, of_receivers, of_requests, of_tokens, of_transfers

__all__ = ["WorkerStatus"]


class WorkerStatus:
    """How far each account is, and what is wrong with it.

    Parameters
    ----------
    rejections
        Account -> why the configuration of it is not used.
    needs_person
        What stands still until a person does something.
    of_orthanc
        What keeps Orthanc's files from being read; None where nothing does.
    receivers
        Of the subscriptions that are pulled.
    of_ledger
        What is measured of the ledger beside the transfers.
    """

    def __init__(
        self,
        overview: Overview,
        destinations: Mapping[str, Destination],
        rejections: Mapping[str, str],
        tokens: TokenSource,
        clock: Clock,
        needs_person: Callable[[], Sequence[Problem]],
        of_orthanc: Callable[[], str | None] = lambda: None,
        receivers: Sequence[Receiver] = (),
        of_ledger: Callable[[], Iterable[Sample]] = tuple,
    ) -> None:
        self._receivers = receivers
        self._overview, self._destinations = overview, destinations
        self._needs_person = needs_person
        self._rejections, self._tokens, self._clock = rejections, tokens, clock
        self._of_orthanc, self._of_ledger = of_orthanc, of_ledger

    def problems(self) -> dict[str, str | None]:
        """What keeps each account from being sent to just now."""
        of_all = self._of_orthanc()
        problems = {
            name: of_all or one.congestion.problem for name, one in self._destinations.items()
        }
        return {**problems, **self._rejections}

    def accounts(self) -> list[AccountOverview]:
        """How far each account is.

        Raises
        ------
        SQLAlchemyError
            The ledger is away.
        """
        problems = self.problems()
        return self._overview.accounts(problems, problems, self._needs_person())

    def samples(self) -> Iterator[Sample]:
        """What Prometheus reads.

        Raises
        ------
        SQLAlchemyError
            The ledger is away.
        """
        yield from of_transfers(one.as_json() for one in self.accounts())
        yield from of_requests(
            {name: one.congestion.totals for name, one in self._destinations.items()}
        )
        yield from of_receivers(self._receivers)
        yield from self._of_ledger()
        yield from of_tokens(self._tokens.figures(), self._clock.utc().timestamp())
