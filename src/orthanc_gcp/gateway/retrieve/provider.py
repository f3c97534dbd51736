"""Answers C-MOVE and C-GET on the association of a workstation."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from contextlib import closing
from io import BytesIO
from typing import Any

from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pynetdicom.dimse_primitives import C_GET, C_MOVE
from pynetdicom.dsutils import encode

from orthanc_gcp.configuration import Modality
from orthanc_gcp.gateway.peers import Peers, printable_aet
from orthanc_gcp.gateway.retrieve.get_channel import GetChannel
from orthanc_gcp.gateway.retrieve.service import BrokenAssociationError, Retrieve, RetrieveService
from orthanc_gcp.gateway.retrieve.store_request import Originator
from orthanc_gcp.gateway.retrieve.store_scu import Destination
from orthanc_gcp.gateway.retrieve.sub_operations import Counts
from orthanc_gcp.logs import places

__all__ = ["RetrieveProvider"]

_log = logging.getLogger(__name__)

_NOT_AUTHORIZED, _UNABLE, _IDENTIFIER_DOES_NOT_MATCH = 0x0124, 0xC001, 0xA900
_FAILURES = (0xA000, 0xB000, 0xC000)
_LONGEST_COMMENT = 64
"""Of Error Comment (0000,0902), an LO."""
_LARGEST_NUMBER = 0xFFFF
"""Of sub-operations, a US: of more, so many are said (PS3.7 §E.1)."""
_FAILED_LIST = 0x00080058


class RetrieveProvider:
    """Serves the requests of associations; several threads may use it at once.

    Parameters
    ----------
    destination
        Makes a modality the destination of a C-MOVE.
    """

    def __init__(
        self,
        service: RetrieveService,
        peers: Peers,
        destination: Callable[[Modality], Destination],
    ) -> None:
        self._service, self._peers, self._destination = service, peers, destination

    def serve(self, association: Any, request: C_MOVE | C_GET, context: Any) -> int | None:
        """Send the responses to a request, the final one last; its status, None without one.

        Parameters
        ----------
        association
            A :class:`~orthanc_gcp.gateway.association.WorkstationAssociation`.
        context
            The presentation context of the request.
        """
        kind = "C-MOVE" if isinstance(request, C_MOVE) else "C-GET"
        name = f"{kind} of {association.peer}, which called {printable_aet(association.called)}"
        if isinstance(request, C_MOVE):
            name += f", to {printable_aet(str(request.MoveDestination or ''))}"
        is_implicit = bool(context.transfer_syntax[0].is_implicit_VR)
        begun, last = time.monotonic(), _refused(_UNABLE, "")
        try:
            with closing(self._counts(association, request, is_implicit, name)) as responses:
                for last in responses:
                    if not association.is_established:
                        break
                    _respond(association, request, context, last, is_implicit)
        except BrokenAssociationError as error:
            _log.warning("%s: its association is aborted: %s", name, error)
            association.abort(block=False)
            return None
        finally:
            association.dimse.cancel_req.clear()
        _log.log(
            logging.WARNING if last.status & 0xF000 in _FAILURES else logging.INFO,
            "%s: %d completed, %d failed, %d with a warning in %.1f s, status %04X%s",
            *(name, last.completed, last.failed, last.warning, time.monotonic() - begun),
            *(last.status, f": {last.comment}" if last.comment else ""),
        )
        return last.status

    def _counts(
        self, association: Any, request: C_MOVE | C_GET, is_implicit: bool, name: str
    ) -> Generator[Counts]:
        is_move = isinstance(request, C_MOVE)
        allowed = self._peers.may_move if is_move else self._peers.may_get
        account = self._peers.account(association.called)
        if account is None or not allowed(association.calling, association.address):
            yield _refused(_NOT_AUTHORIZED, "this AE title may not retrieve")
            return
        if request.Identifier is None:
            yield _refused(_IDENTIFIER_DOES_NOT_MATCH, "there is no identifier")
            return
        retrieve = Retrieve(
            str(request.AffectedSOPClassUID),
            request.Identifier.getvalue(),
            is_implicit,
            account,
            Originator(association.calling.strip(), request.MessageID or 0),
            self._find(request) if isinstance(request, C_MOVE) else None,
            None if is_move else GetChannel(association),
            name,
        )

        def is_cancelled() -> bool:
            dimse, dul = association.dimse, association.dul
            return request.MessageID in dimse.cancel_req or not dul.is_alive()

        try:
            yield from self._service(retrieve, is_cancelled)
        except BrokenAssociationError:
            raise
        except Exception as error:
            _log.error("%s failed unexpectedly\n%s", name, places(error))
            yield _refused(_UNABLE, "it failed unexpectedly")

    def _find(self, request: C_MOVE) -> Destination | None:
        modality = self._peers.modality(str(request.MoveDestination or ""))
        return None if modality is None else self._destination(modality)


def _respond(
    association: Any, request: C_MOVE | C_GET, context: Any, counts: Counts, is_implicit: bool
) -> None:
    response: Any = type(request)()
    response.MessageIDBeingRespondedTo = request.MessageID
    response.AffectedSOPClassUID = request.AffectedSOPClassUID
    response.Status = counts.status
    response.ErrorComment = counts.comment[:_LONGEST_COMMENT] or None
    numbers = (counts.remaining, counts.completed, counts.failed, counts.warning)
    for word, number in zip(("Remaining", "Completed", "Failed", "Warning"), numbers, strict=True):
        if number is not None:
            name = f"NumberOf{word}Suboperations"
            setattr(response, name, min(number, _LARGEST_NUMBER))
    if counts.failed_uids:
        failed = Dataset()
        uids = list(counts.failed_uids)
        failed.add(DataElement(_FAILED_LIST, "UI", uids, validation_mode=config.IGNORE))
        encoded = encode(failed, is_implicit, True)
        response.Identifier = BytesIO(encoded) if encoded else None
    association.dimse.send_msg(response, context.context_id)


def _refused(status: int, comment: str) -> Counts:
    return Counts(status, None, 0, 0, 0, comment=comment)
