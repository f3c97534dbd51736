"""C-STORE on the association of a C-GET, whose workstation is the SCP of it (PS3.4 §C.4.3.2)."""

from __future__ import annotations

import queue
import time
from collections.abc import Container, Iterator, Mapping
from typing import Any

from pydicom.uid import UID
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import PresentationContext

from orthanc_gcp.gateway.retrieve.file_meta import FileMeta
from orthanc_gcp.gateway.retrieve.store_request import StoreResponse, command, writes
from orthanc_gcp.gateway.retrieve.store_scu import DestinationError, Syntax
from orthanc_gcp.gateway.transport import EncodedMessage

__all__ = ["GetChannel", "storage_contexts"]

_MOST_UNSENT = 4
"""So many writes wait for the one before."""
_PREFERRED = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
"""Of a context with several transfer syntaxes: the store can bring all instances in these."""
_POLL = 0.5


class GetChannel:
    """Stores on the association of a workstation, on the thread that serves it."""

    def __init__(self, association: Any) -> None:
        self._association = association
        contexts: Mapping[int, PresentationContext] = association._accepted_cx
        self._contexts: dict[Syntax, int] = {
            (str(one.abstract_syntax), str(one.transfer_syntax[0])): number
            for number, one in contexts.items()
            if one.as_scu
        }
        self._message_id = 0

    def context(self, syntax: Syntax) -> int | None:
        """The ID of the presentation context for a SOP class and transfer syntax; None for none."""
        return self._contexts.get(syntax)

    def store(self, syntax: Syntax, meta: FileMeta, data_set: Iterator[bytes]) -> StoreResponse:
        """Store an instance, and wait for the answer.

        What ``data_set`` raises comes out of it, and leaves the association in the middle of a
        message: it has to be aborted.

        Raises
        ------
        DestinationError
            The association has ended, or what came is no answer: it has to be aborted.
        """
        context = self._contexts[syntax]
        self._message_id = self._message_id % 0xFFFF + 1
        request = command(self._message_id, meta, None)
        longest = self._association.requestor.maximum_length or 0
        for data in writes(context, request, data_set, longest):
            self._write(data)
        until = time.monotonic() + (self._association.network_timeout or 0)
        return self._response(until)

    def _write(self, data: bytes) -> None:
        dul = self._association.dul
        while dul.to_provider_queue.qsize() >= _MOST_UNSENT:
            self._check()
            time.sleep(0.0005)  # ends: a peer that does not read breaks off in time
        self._check()
        dul.send_pdu(EncodedMessage(data))

    def _response(self, until: float) -> StoreResponse:
        while time.monotonic() < until:
            try:
                _, message = self._association.dimse.msg_queue.get(timeout=_POLL)
            except queue.Empty:
                self._check()
                continue
            if (
                not isinstance(message, C_STORE)
                or message.MessageIDBeingRespondedTo != self._message_id
                or not isinstance(message.Status, int)
            ):
                raise DestinationError("it answers with what is no response to C-STORE")
            return StoreResponse(self._message_id, message.Status)
        raise DestinationError("it does not answer (timeout)")

    def _check(self) -> None:
        association = self._association
        if not association.dul.is_alive() or not association.is_established:
            raise DestinationError("its association has ended")


def storage_contexts(
    proposed: list[PresentationContext],
    roles: Mapping[Any, Any],
    served: Container[str],
) -> list[PresentationContext]:
    """What is accepted of a workstation that wants to be the SCP of C-STORE (PS3.7 §D.3.3.4).

    Parameters
    ----------
    roles
        Role selection by SOP class.
    served
        The SOP classes that this program is the SCP of.
    """
    made: dict[str, PresentationContext] = {}
    for context in proposed:
        sop_class = str(context.abstract_syntax)
        role = roles.get(context.abstract_syntax)
        if role is None or not role.scp_role:
            continue
        own = made.setdefault(sop_class, PresentationContext())
        own.abstract_syntax = context.abstract_syntax
        offered = {str(one) for one in (*own.transfer_syntax, *context.transfer_syntax)}
        own.transfer_syntax = list(map(UID, sorted(offered, key=_order)))
        own.scp_role, own.scu_role = True, sop_class in served
    return list(made.values())


def _order(transfer_syntax: str) -> tuple[int, str]:
    known = transfer_syntax in _PREFERRED
    return (_PREFERRED.index(transfer_syntax) if known else len(_PREFERRED), transfer_syntax)
