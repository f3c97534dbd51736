"""What answers Orthanc's own DICOM server, put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from orthanc_gcp.configuration import Modality
from orthanc_gcp.dicomweb.readable import ReadableStore
from orthanc_gcp.gateway.figures import Figures
from orthanc_gcp.gateway.find import FindService
from orthanc_gcp.gateway.for_orthanc.find import OrthancFinder
from orthanc_gcp.gateway.for_orthanc.moves import OrthancMoves
from orthanc_gcp.gateway.peers import Peers
from orthanc_gcp.gateway.retrieve.limits import LimitsOf
from orthanc_gcp.gateway.retrieve.store_scu import Destination
from orthanc_gcp.orthanc.find import FindLimits
from orthanc_gcp.orthanc.rest import OrthancRest

__all__ = ["ForOrthanc", "for_orthanc"]


@dataclass(frozen=True)
class ForOrthanc:
    """C-FIND and C-MOVE of those that call Orthanc."""

    find: OrthancFinder
    moves: OrthancMoves

    def close(self) -> None:
        """End what goes on."""
        self.find.close()
        self.moves.close()


def for_orthanc(
    orthanc: OrthancRest,
    finder: FindService,
    stores: Mapping[str, ReadableStore],
    renew: Callable[[str], None],
    figures: Figures,
    peers: Peers,
    destination: Callable[[Modality], Destination],
    most_answers: int,
    limits: LimitsOf,
    find_limits: FindLimits,
) -> ForOrthanc:
    """Both of them, over the same stores."""
    account_of = peers.account_of_orthanc
    found = OrthancFinder(
        orthanc, finder, stores, account_of, renew, figures, most_answers, find_limits
    )
    moves = OrthancMoves(
        orthanc, stores, account_of, renew, figures, peers, destination, limits, find_limits
    )
    return ForOrthanc(found, moves)
