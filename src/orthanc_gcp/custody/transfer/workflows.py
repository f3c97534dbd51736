"""The durable workflows (DBOS): a batch that was begun is carried on after a crash.

The queue is the ledger itself, not one of DBOS: what shares a request is decided when a connection
is free, by the size that the store takes well just then, and a backlog of a million instances is
a million small rows, not workflows.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sql
from dbos import DBOS, SetWorkflowID

from orthanc_gcp.custody.transfer.sender import Sender
from orthanc_gcp.custody.verification.read_back import ReadBack
from orthanc_gcp.ledger.database import is_away

__all__ = ["Workflows"]

_log = logging.getLogger(__name__)

NAME = "orthanc-gcp"
VERSION = "1"
"""The shape of the workflows: those that another version began are left to its workers."""
_ENDED = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
_PORTION = 500


class Workflows:
    """Runs batches and looks on threads, and those that a crash has interrupted.

    Parameters
    ----------
    on_sent
        Called when a batch was sent, whatever came of it.
    """

    def __init__(
        self,
        engine: sql.Engine,
        worker: str,
        carrier: Sender,
        witness: ReadBack,
        on_sent: Callable[[], None],
    ) -> None:
        self._carrier, self._witness, self._on_sent = carrier, witness, on_sent
        self._lock = threading.Condition()
        self._sending: dict[str, str] = {}
        self._looking: set[str] = set()
        self._running = 0
        for name in ("dbos", "dbos.dbos"):
            logging.getLogger(name).setLevel(logging.ERROR)
        DBOS(
            config={
                "name": NAME,
                "system_database_engine": engine,
                "executor_id": worker,
                "application_version": VERSION,
                "log_level": "ERROR",
                "use_listen_notify": False,
            }
        )

        @DBOS.workflow(name="transfer")
        def transfer(batch: str) -> None:
            with self._counted():
                try:
                    account, series = DBOS.run_step({"name": "send"}, self._send, batch)
                finally:  # also when the database failed before or after the step
                    self._sent(batch)
                if series:
                    DBOS.run_step({"name": "confirm"}, self._confirm, account, series)

        @DBOS.workflow(name="look")
        def look(account: str, series: list[str]) -> None:
            try:
                DBOS.run_step({"name": "confirm"}, self._confirm, account, series)
            finally:
                self._looked(series)

        self._transfer, self._look = transfer, look

    def start(self) -> None:
        """Begin; what a crash of this worker has interrupted goes on."""
        DBOS.launch()

    def rest(self, patience: float) -> bool:
        """Wait some seconds for what runs; whether nothing does any more."""
        with self._lock:
            return self._lock.wait_for(
                lambda: not (self._sending or self._looking or self._running), patience
            )

    def stop(self) -> None:
        """End; what is still running goes on at the next start."""
        DBOS.destroy(destroy_registry=True)

    def sending(self, account: str) -> int:
        """How many batches of an account this worker is sending."""
        with self._lock:
            return sum(of == account for of in self._sending.values())

    def active(self) -> set[str]:
        """The batches that this worker is sending."""
        with self._lock:
            return set(self._sending)

    def transfer(self, account: str, batch: str) -> None:
        """Carry a batch."""
        with self._lock:
            self._sending[batch] = account
        try:
            with SetWorkflowID(batch):
                DBOS.start_workflow(self._transfer, batch)
        except Exception:
            self._sent(batch)
            raise

    def look(self, account: str, series: list[str]) -> None:
        """Read back some series, unless that is being done."""
        with self._lock:
            fresh = [uid for uid in series if uid not in self._looking]
            self._looking.update(fresh)
        if not fresh:
            return
        try:
            DBOS.start_workflow(self._look, account, fresh)
        except Exception:
            self._looked(fresh)
            raise

    def take_over(self, dead: str) -> None:
        """Carry on what another worker, which is dead, was doing."""
        DBOS._recover_pending_workflows([dead])  # there is no public name for it

    def forget(self) -> None:
        """Delete what ended; the ledger is the record."""
        old = int((time.time() - 60) * 1000)
        ended = DBOS.list_workflows(
            status=_ENDED, limit=_PORTION, load_input=False, load_output=False
        )
        identifiers = [one.workflow_id for one in ended if (one.updated_at or 0) < old]
        if identifiers:
            DBOS.delete_workflows(identifiers)

    def _send(self, batch: str) -> tuple[str, list[str]]:
        with self._lock:
            self._sending.setdefault(batch, "")
        try:
            return self._carrier.carry(batch)
        except Exception as error:
            # The rows stay with the batch; the dispatcher finds that nobody carries it.
            _log.log(_level(error), "a batch was interrupted: %s", _short(error))
            return "", []

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self._running += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1
                self._lock.notify_all()

    def _sent(self, batch: str) -> None:
        with self._lock:
            self._sending.pop(batch, None)
            self._lock.notify_all()
        self._on_sent()

    def _confirm(self, account: str, series: list[str]) -> None:
        try:
            self._witness.confirm(account, series)
        except Exception as error:
            words = _short(error)
            _log.log(_level(error), "account %s: reading back was interrupted: %s", account, words)

    def _looked(self, series: list[str]) -> None:
        with self._lock:
            self._looking.difference_update(series)
            self._lock.notify_all()


def _level(error: Exception) -> int:
    """A database that is away stops the dispatcher as well, which tells it once."""
    return logging.DEBUG if is_away(error) else logging.ERROR


def _short(error: Any) -> str:
    """The first line of an error; a database's may go on with values."""
    return f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
