"""An association with a workstation: who it is, what it asks, and an end in any case (PS3.8)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_CANCEL, C_ECHO, C_FIND, C_GET, C_MOVE, C_STORE, N_ACTION
from pynetdicom.dsutils import encode
from pynetdicom.pdu_primitives import A_ASSOCIATE

from orthanc_gcp.gateway.commitment.service import Action, CommitmentService
from orthanc_gcp.gateway.figures import Figures
from orthanc_gcp.gateway.peers import Peers, Rejection, printable_aet
from orthanc_gcp.gateway.retrieve.get_channel import storage_contexts
from orthanc_gcp.gateway.retrieve.provider import RetrieveProvider
from orthanc_gcp.gateway.spool import Spool
from orthanc_gcp.gateway.store import STORAGE_CLASSES, Store, StoreService
from orthanc_gcp.gateway.transport import BoundedDimse, GuardedDul
from orthanc_gcp.logs import places

__all__ = ["Answer", "Find", "Finder", "WorkstationAssociation"]

_log = logging.getLogger(__name__)

_REJECTED_BY_THE_USER, _LIMIT_EXCEEDED = (1, 1), (2, 3, 2)
"""Result and source; result, source and reason (PS3.8 §9.3.4)."""
_WORDS = {
    Rejection.CALLED_AET: "no account has the AE title that it called",
    Rejection.CALLING_AET: "it is no modality of DicomModalities",
}
_PROCESSING_FAILURE = 0x0110
_SOP_CLASS_NOT_SUPPORTED, _NOT_AUTHORIZED, _UNABLE = 0x0122, 0x0124, 0xC001
_IDENTIFIER_DOES_NOT_MATCH, _CANNOT_UNDERSTAND = 0xA900, 0xC000
_LONGEST_COMMENT = 64
"""Of Error Comment (0000,0902), an LO."""
_REQUESTS = C_ECHO | C_FIND | C_GET | C_MOVE | C_STORE | N_ACTION
_MOST_UNSENT = 64
"""So many answers wait to be sent before the next is made."""


@dataclass(frozen=True)
class Find:
    """A C-FIND request (PS3.7 §9.1.2).

    Attributes
    ----------
    model
        The SOP class: which information model is asked (PS3.4 §C.6).
    identifier
        What is looked for, as it is encoded, in Little Endian.
    """

    model: str
    identifier: bytes
    is_implicit: bool
    account: str
    called: str
    calling: str


@dataclass(frozen=True)
class Answer:
    """A response: its status (PS3.4 §C.4.1.1.4), a match, or why there is none."""

    status: int
    match: Dataset | None = None
    comment: str = ""


Finder = Callable[[Find, Callable[[], bool]], Iterator[Answer]]
"""A request, and whether it has been cancelled -> the responses, the final one last."""


class WorkstationAssociation(Association):
    """One association that a workstation has asked for, on a thread of its own."""

    def __init__(
        self,
        entity: ApplicationEntity,
        peers: Peers,
        finder: Finder,
        retrievals: RetrieveProvider,
        crowded: bool,
        ended: Callable[[], None],
        figures: Figures,
        storing: StoreService | None = None,
        committing: CommitmentService | None = None,
    ) -> None:
        super().__init__(entity, "acceptor")
        self.dul = GuardedDul(self)
        self.dimse = self._bounded = BoundedDimse(self, self._spool_of)
        self.acse_timeout = entity.acse_timeout
        self.network_timeout = entity.network_timeout
        self._peers, self._finder, self._storing = peers, finder, storing
        self._retrievals, self._committing, self._stored = retrievals, committing, 0
        self._crowded, self._ended, self._figures = crowded, ended, figures

    @property
    def called(self) -> str:
        """The AE title that was called."""
        request = self.requestor.primitive
        return "" if request is None else str(request.called_ae_title)

    @property
    def calling(self) -> str:
        """The AE title of the workstation, as it says."""
        request = self.requestor.primitive
        return "" if request is None else str(request.calling_ae_title)

    @property
    def address(self) -> str:
        """Where the workstation is."""
        there = self.requestor.address_info
        return "" if there is None else there.address

    @property
    def peer(self) -> str:
        """The workstation as a log names it."""
        return f"{printable_aet(self.calling)} at {self.address}"

    def run_reactor(self) -> None:
        """Serve the workstation until one side ends it."""
        try:
            self.dul.start()
            self._started_dul = True
            self._dul_ready.wait(self.acse_timeout)
            request: Any = self.dul.receive_pdu(wait=True, timeout=self.acse_timeout)
            if isinstance(request, A_ASSOCIATE):
                self._serve(request)
        except Exception as error:
            _log.exception("an association failed unexpectedly", exc_info=error)
        finally:
            self._end()

    def _serve(self, request: A_ASSOCIATE) -> None:
        self.requestor.primitive = request
        self.requestor.ae_title = request.calling_ae_title
        rejection = self._peers.rejection(self.called, self.calling, self.address)
        if self._crowded:
            self._reject("there are too many associations", *_LIMIT_EXCEEDED)
        elif rejection is not None:
            self._reject(_WORDS[rejection], *_REJECTED_BY_THE_USER, int(rejection))
        else:
            self._support_storage(request)
            self.acse.negotiate_association()
            if self.is_established:
                self._run_reactor()

    def _support_storage(self, request: A_ASSOCIATE) -> None:
        """Offer C-STORE to one that wants to be its SCP, for C-GET."""
        own = {str(one.abstract_syntax): one for one in self.acceptor.supported_contexts}
        wanted = storage_contexts(
            request.presentation_context_definition_list, self.requestor.role_selection, own
        )
        merged = own | {str(one.abstract_syntax): one for one in wanted}
        self.acceptor.supported_contexts = list(merged.values())

    def _reject(self, why: str, result: int, source: int, reason: int) -> None:
        called = printable_aet(self.called)
        _log.warning("%s, which called %s, was rejected: %s", self.peer, called, why)
        self.acse.send_reject(result, source, reason)
        self.dul.join(self.acse_timeout)

    def _end(self) -> None:
        """Close what is open; the other side is asked only where there is time for it."""
        if self.is_established:
            self.abort(block=False)
            self.dul.join(self.acse_timeout)
        self._kill, self.is_established = True, False
        self.dul.kill_dul()
        if self.dul.socket is not None:
            with suppress(OSError):
                self.dul.socket.close()
        self._bounded.close()
        if self._stored:
            _log.info("C-STORE of %s: Orthanc has taken %d instances", self.peer, self._stored)
        self._ended()

    # -- DIMSE ------------------------------------------------------------------------------------

    def _serve_request(self, msg: Any, context_id: int) -> None:
        """Answer a request, and keep nothing of it."""
        try:
            self._answer(msg, context_id)
        finally:
            spool = getattr(msg, "_dataset_file", None)
            if spool is not None:
                spool.close()

    def _answer(self, msg: Any, context_id: int) -> None:
        """Answer a request; what is none that was agreed on ends the association."""
        context = self._accepted_cx.get(context_id)
        model = getattr(msg, "AffectedSOPClassUID", None)
        model = msg.RequestedSOPClassUID if isinstance(msg, N_ACTION) else model
        if isinstance(msg, C_CANCEL):
            return  # too late, or one of too many
        known = isinstance(msg, _REQUESTS) and msg.MessageID is not None
        if context is None or not known or model is None:
            _log.info("%s asked what was not agreed on: its association is aborted", self.peer)
            self.abort(block=False)
            return
        response = type(msg)()
        response.MessageIDBeingRespondedTo = msg.MessageID
        response.AffectedSOPClassUID = model
        begun = time.monotonic()
        if model != context.abstract_syntax:
            self._respond(response, context_id, Answer(_SOP_CLASS_NOT_SUPPORTED))
        elif isinstance(msg, C_ECHO):
            allowed = self._peers.may_echo(self.calling, self.address)
            self._respond(response, context_id, Answer(0 if allowed else _NOT_AUTHORIZED))
        elif isinstance(msg, C_GET | C_MOVE):
            response.Status = self._retrievals.serve(self, msg, context)
            self.dul._idle_timer.restart()
        elif isinstance(msg, N_ACTION):
            response.AffectedSOPInstanceUID = msg.RequestedSOPInstanceUID
            response.ActionTypeID = msg.ActionTypeID
            is_implicit = bool(context.transfer_syntax[0].is_implicit_VR)
            self._respond(response, context_id, self._commit(msg, is_implicit))
        elif isinstance(msg, C_STORE):
            response.AffectedSOPInstanceUID = msg.AffectedSOPInstanceUID
            self._respond(response, context_id, self._store(msg, str(context.transfer_syntax[0])))
            self.dul._idle_timer.restart()
        else:
            self._find(msg, response, context_id, bool(context.transfer_syntax[0].is_implicit_VR))
            self.dul._idle_timer.restart()  # what the store took was no silence of the peer
        if response.Status is not None:
            service = type(msg).__name__.replace("_", "-")
            self._figures.ended(service, int(response.Status), time.monotonic() - begun)

    def _spool_of(self, context_id: int) -> Spool | None:
        """What takes the data set of a C-STORE, whose presentation context is of storage."""
        context = self._accepted_cx.get(context_id)
        if context is None or context.abstract_syntax not in STORAGE_CLASSES:
            return None
        return Spool(discards=not self._peers.may_store(self.calling, self.address))

    def _store(self, request: C_STORE, transfer_syntax: str) -> Answer:
        spool: Any = request._dataset_file
        try:
            if not self._peers.may_store(self.calling, self.address):
                return Answer(_NOT_AUTHORIZED, comment="this AE title may not store")
            if self._storing is None or spool is None or not request.AffectedSOPInstanceUID:
                return Answer(_CANNOT_UNDERSTAND, comment="there is no instance, or no data set")
            sop_class, instance = request.AffectedSOPClassUID, request.AffectedSOPInstanceUID
            called, calling = self.called, self.calling
            store = Store(str(sop_class), str(instance), transfer_syntax, called, calling, spool)
            status, words = self._storing(store)
        except Exception as error:
            _log.error("a C-STORE failed unexpectedly\n%s", places(error))
            status, words = _CANNOT_UNDERSTAND, "it failed unexpectedly"
        if status:
            _log.warning("C-STORE of %s: status %04X: %s", self.peer, status, words)
        self._stored += not status
        return Answer(status, comment=words)

    def _commit(self, request: N_ACTION, is_implicit: bool) -> Answer:
        """Take a request for storage commitment in (PS3.4 §J.3.2)."""
        account = self._peers.account(self.called)
        if self._committing is None or account is None:
            return Answer(_SOP_CLASS_NOT_SUPPORTED)
        information = request.ActionInformation
        action = Action(
            str(request.RequestedSOPInstanceUID or ""),
            int(request.ActionTypeID or 0),
            b"" if information is None else information.getvalue(),
            is_implicit,
            account,
            self.calling.strip(),
            self.called.strip(),
            self.address,
        )
        try:
            status, words = self._committing(action)
        except Exception as error:
            _log.error("storage commitment failed unexpectedly\n%s", places(error))
            status, words = _PROCESSING_FAILURE, "it failed unexpectedly"
        if status:
            peer = self.peer
            _log.warning("storage commitment for %s: status %04X: %s", peer, status, words)
        return Answer(status, comment=words)

    def _find(self, request: C_FIND, response: C_FIND, context_id: int, is_implicit: bool) -> None:
        begun, answers, last = time.monotonic(), 0, Answer(_UNABLE)
        for last in self._answers(request, is_implicit):
            if not self.is_established:
                break
            if last.match is not None:
                encoded = encode(last.match, is_implicit, True)
                if encoded is None:
                    last = Answer(_UNABLE, comment="a match cannot be written")
                    self._respond(response, context_id, last)
                    break
                response.Identifier = BytesIO(encoded)
                answers += 1
            self._respond(response, context_id, last)
            response.Identifier = None
        self.dimse.cancel_req.clear()
        _log.log(
            logging.WARNING if last.status & 0xF000 in (0xA000, 0xC000) else logging.INFO,
            "C-FIND of %s, which called %s: %d answers in %.1f s, status %04X%s",
            *(self.peer, printable_aet(self.called), answers, time.monotonic() - begun),
            *(last.status, f": {last.comment}" if last.comment else ""),
        )

    def _answers(self, request: C_FIND, is_implicit: bool) -> Iterator[Answer]:
        account = self._peers.account(self.called)
        if account is None or not self._peers.may_find(self.calling, self.address):
            yield Answer(_NOT_AUTHORIZED, comment="this AE title may not search")
            return
        if request.Identifier is None:
            yield Answer(_IDENTIFIER_DOES_NOT_MATCH, comment="there is no identifier")
            return
        find = Find(
            str(request.AffectedSOPClassUID),
            request.Identifier.getvalue(),
            is_implicit,
            account,
            self.called.strip(),
            self.calling.strip(),
        )

        def is_cancelled() -> bool:
            return request.MessageID in self.dimse.cancel_req or not self.dul.is_alive()

        try:
            yield from self._finder(find, is_cancelled)
        except Exception as error:
            _log.error("a C-FIND failed unexpectedly\n%s", places(error))
            yield Answer(_UNABLE, comment="it failed unexpectedly")

    def _respond(self, response: Any, context_id: int, answer: Answer) -> None:
        """Send a response once there are not too many before it that the peer has not read."""
        response.Status = answer.status
        response.ErrorComment = answer.comment[:_LONGEST_COMMENT] or None
        while self.dul.to_provider_queue.qsize() > _MOST_UNSENT and self.dul.is_alive():
            time.sleep(0.001)  # ends: a peer that does not read breaks off in time
        self.dimse.send_msg(response, context_id)
