"""C-FIND and C-MOVE of Orthanc's own DICOM server, which the gateway answers for it.

A callback waits for the gateway by a socket, which leaves the interpreter to others. Where the
gateway does not run, what Orthanc holds is answered all the same.
"""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Callable
from typing import Any

from orthanc_gcp.errors import OrthancError, WorkerUnavailableError
from orthanc_gcp.logs import places
from orthanc_gcp.orthanc.find import NO_LIMITS, FindLimits
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.plugin.gateway_client import GatewayClient, NoGateway
from orthanc_gcp.plugin.local_answers import local_answers, send_local

__all__ = ["DicomCallbacks", "UnansweredError"]

_log = logging.getLogger(__name__)

FIND_WITHIN = 60.0
"""Seconds for the gateway, which waits for a store for less, and may have much to answer."""
STATE_WITHIN = 10.0
SIZE_WITHIN = 600.0
"""Seconds until the number of instances is known."""
_REFUSED = 400


class UnansweredError(Exception):
    """A request, or one sub-operation, has failed; the message has no patient data."""


class DicomCallbacks:
    """Answers what Orthanc's DICOM server is asked.

    Parameters
    ----------
    gateway
        The gateway of this Orthanc, as soon as there is one.
    local
        Makes a client of this Orthanc's REST API.
    plain
        Makes AE titles alike that Orthanc takes for the same.
    limits
        Those of this Orthanc.
    """

    def __init__(
        self,
        orthanc: Any,
        gateway: Callable[[], GatewayClient | NoGateway | None],
        local: Callable[[], OrthancRest],
        plain: Callable[[str], str],
        limits: FindLimits = NO_LIMITS,
    ) -> None:
        self._orthanc, self._gateway, self._local, self._plain = orthanc, gateway, local, plain
        self._limits = limits

    def register(self) -> tuple[Callable[..., Any], ...]:
        """Have Orthanc call back from now on; what has to be referred to as long.

        Up to version 4 of the Python plugin, a C-MOVE is one sub-operation.
        """
        of_move: tuple[Callable[..., Any], ...] = (self.move,)
        move = "RegisterMoveCallback"
        if hasattr(self._orthanc, "RegisterMoveCallback2"):
            of_move = (self.begin, self.size, self.step, self.end)
            move = "RegisterMoveCallback2"
        kept: list[Callable[..., Any]] = []
        for name, callbacks in (("RegisterFindCallback", (self.find,)), (move, of_move)):
            try:
                getattr(self._orthanc, name)(*callbacks)
                kept += callbacks
            except RuntimeError as error:  # a script of the user's has been there before
                _log.error("AnswerForOrthanc cannot be followed: %s", error)
        return tuple(kept)

    # -- C-FIND -----------------------------------------------------------------------------------

    def find(self, answers: Any, query: Any, calling: str, called: str) -> None:
        """Orthanc's callback for a C-FIND.

        Raises
        ------
        UnansweredError
            It cannot be answered.
        """
        asked = {
            f"{query.GetFindQueryTagGroup(one):04X}{query.GetFindQueryTagElement(one):04X}": (
                _value(query, one)
            )
            for one in range(query.GetFindQuerySize())
        }
        try:
            found, is_whole = self._found(asked, calling, called)
            for answer in found:
                answers.FindAddAnswer(answer)
            if not is_whole:
                answers.FindMarkIncomplete()
        except OrthancError as error:
            raise UnansweredError(f"C-FIND: {error}") from None
        except UnansweredError:
            raise
        except Exception as error:
            _log.error("a C-FIND failed unexpectedly\n%s", places(error))
            raise UnansweredError("C-FIND: it failed unexpectedly") from None

    def _found(self, asked: dict[str, str], calling: str, called: str) -> tuple[list[bytes], bool]:
        """The identifiers of the responses, and whether they are all."""
        body = {"Query": asked, "CallingAet": calling, "CalledAet": called}
        try:
            found = self._ask("POST", ("find",), body, FIND_WITHIN)
        except WorkerUnavailableError as error:
            _log.warning("a C-FIND is answered only from what Orthanc holds: %s", error)
            return list(local_answers(self._local(), self._orthanc, asked, called)), False
        return [base64.b64decode(one) for one in found["Answers"]], found["Whole"]

    def _ask(
        self, method: str, parts: tuple[str, ...], body: Any, timeout: float, **query: str
    ) -> Any:
        """What the gateway answers.

        Raises
        ------
        WorkerUnavailableError
            It does not, or cannot just now.
        UnansweredError
            It refuses the request.
        """
        gateway = self._gateway()
        if not isinstance(gateway, GatewayClient):
            raise WorkerUnavailableError("the gateway does not run just now")
        data = b"" if body is None else json.dumps(body).encode()
        status, answer = gateway.call(method, ("gateway", *parts), query, data, timeout)
        if status == _REFUSED:
            raise UnansweredError(str(answer.get("Message", "")))
        if status != 200:
            raise WorkerUnavailableError(str(answer.get("Message", "")))
        return answer

    # -- C-MOVE -----------------------------------------------------------------------------------

    def move(self, **request: Any) -> None:
        """Orthanc's callback for a C-MOVE that is one sub-operation.

        Raises
        ------
        UnansweredError
            Not all was sent.
        """
        going = self.begin(**request)
        try:
            for _ in range(going.size):
                going.step()
        finally:
            going.end()

    def begin(self, **request: Any) -> _Move | _LocalMove:
        """Orthanc's callback for a C-MOVE that begins.

        Raises
        ------
        UnansweredError
            Nothing can be sent.
        """
        try:
            name = self._ask("POST", ("moves",), request, STATE_WITHIN)["Move"]
            return _Move(self._ask, name)
        except WorkerUnavailableError as error:
            _log.warning("a C-MOVE sends only what Orthanc holds: %s", error)
            return _LocalMove(lambda: send_local(self._local(), request, self._plain, self._limits))

    @staticmethod
    def size(going: _Move | _LocalMove) -> int:
        """How many sub-operations it has."""
        return going.size

    @staticmethod
    def step(going: _Move | _LocalMove) -> None:
        """Wait for the next sub-operation.

        Raises
        ------
        UnansweredError
            It has failed.
        """
        going.step()

    @staticmethod
    def end(going: _Move | _LocalMove) -> None:
        """It is over, or has been cancelled."""
        going.end()


def _value(query: Any, number: int) -> str:
    """A value of a query; empty where it has none, or a binary one, for which Orthanc raises."""
    try:
        return str(query.GetFindQueryValue(number))
    except Exception:
        return ""


class _Move:
    """One that the gateway does.

    Orthanc ends a C-MOVE with the first sub-operation that fails, so that those come last.
    """

    def __init__(self, ask: Callable[..., Any], name: str) -> None:
        self._ask, self._path, self._completed = ask, ("moves", name), 0
        try:
            self.size = self._known_size()
        except (WorkerUnavailableError, UnansweredError):
            self.end()  # so that nothing of it is sent beside what is sent in its place
            raise

    def _known_size(self) -> int:
        deadline = time.monotonic() + SIZE_WITHIN
        while time.monotonic() < deadline:
            state = self._state(-1)
            if state["Refused"]:
                raise UnansweredError(f"C-MOVE: {state['Refused']}")
            if state["Size"] is not None:
                return int(state["Size"])
        raise UnansweredError("C-MOVE: it takes too long to find what is to be sent")

    def step(self) -> None:
        try:
            while True:
                state = self._state(self._completed)
                if state["Completed"] > self._completed:
                    self._completed += 1
                    return
                if state["Over"]:
                    raise UnansweredError(f"C-MOVE: {state['Failed']} were not sent: see the log")
        except WorkerUnavailableError as error:
            raise UnansweredError(f"C-MOVE: {error}") from None

    def end(self) -> None:
        try:
            self._ask("DELETE", self._path, None, STATE_WITHIN)
        except (WorkerUnavailableError, UnansweredError):
            _log.info("the end of a C-MOVE could not be said to the gateway")

    def _state(self, after: int) -> Any:
        return self._ask("GET", self._path, None, STATE_WITHIN, after=str(after))


class _LocalMove:
    """What Orthanc holds is one sub-operation, and what only a store may have one that fails."""

    size = 2

    def __init__(self, send: Callable[[], None]) -> None:
        self._send, self._is_sent = send, False

    def step(self) -> None:
        if self._is_sent:
            raise UnansweredError("C-MOVE: what only the store has was not sent")
        try:
            self._send()
        except OrthancError as error:
            raise UnansweredError(f"C-MOVE: {error}") from None
        self._is_sent = True

    def end(self) -> None:
        """Nothing goes on."""
