"""In the place of a worker where no rule wants one: says what waits all the same."""

from __future__ import annotations

import json
import logging
import os
import subprocess  # programs of ours, never by a shell  # nosec B404
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orthanc_gcp
from orthanc_gcp.backoff import Backoff
from orthanc_gcp.configuration import Settings
from orthanc_gcp.errors import WorkerUnavailableError
from orthanc_gcp.redaction import readable
from orthanc_gcp.worker.handshake import WorkerInput
from orthanc_gcp.worker.samples import PROBLEM_INSTANCES, PROBLEMS_FOUND, Sample

__all__ = ["Unattended", "command", "may_have_a_ledger"]

_log = logging.getLogger(__name__)

LEDGER_FILE = "orthanc-gcp.sqlite"
"""That of :mod:`orthanc_gcp.ledger.database`, which Orthanc's Python has no libraries for."""
RETRIEVAL = "retrieval"
"""Stands in the place of a problem's kind where something is to be retrieved."""
NO_WORKER = "there is no worker: the configuration has no rule in Send"
BACKOFF, MOST_TRIES = Backoff(10.0, 600.0, jitter=0), 20
"""So it is asked for two hours and a half, while the database is away."""
_ANSWER_WITHIN = 120


class Unattended:
    """Asks the ledger once, as soon as it answers, and says in log and metrics what waits.

    Parameters
    ----------
    command
        What asks it; no secret is in it.
    given
        What is written to its standard input.
    show
        Shows samples as metrics.

    Attributes
    ----------
    on_open_retrievals
        Called where something was to be retrieved when Orthanc ended.
    """

    def __init__(
        self,
        command: Sequence[str],
        given: WorkerInput,
        show: Callable[[Iterable[Sample]], None],
    ) -> None:
        self._command, self._given, self._show = command, given, show
        self.on_open_retrievals: Callable[[], object] = lambda: None
        self._stopping = threading.Event()
        self._words = NO_WORKER
        self._thread = threading.Thread(target=self._run, name="gcp-unattended", daemon=True)

    def start(self) -> None:
        """Ask, on a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._stopping.set()

    def call(
        self,
        _method: str,
        _parts: tuple[str, ...],
        _query: Mapping[str, str] | None = None,
        _body: bytes = b"",
    ) -> tuple[int, Any]:
        """What a worker would be asked for.

        Raises
        ------
        WorkerUnavailableError
            Always: there is none, and so much waits.
        """
        raise WorkerUnavailableError(self._words)

    def _run(self) -> None:
        pause, words = 0.0, ""
        for _ in range(MOST_TRIES):
            if self._stopping.wait(pause):
                return
            try:
                self._say(self._ask())
            except WorkerUnavailableError:  # Orthanc is about to stop
                return
            except (OSError, ValueError, RuntimeError, subprocess.SubprocessError) as error:
                if not words:
                    words = readable(str(error))
                    _log.warning("whether anything waits to be sent is not known: %s", words)
                pause = BACKOFF.after(pause)
            else:
                return

    def _ask(self) -> list[dict[str, Any]]:
        root = str(Path(orthanc_gcp.__file__).parent.parent)
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        done = subprocess.run(  # noqa: S603 - a program of ours, and no shell # nosec B603
            self._command,
            input=self._given.line(),
            capture_output=True,
            env={**os.environ, "PYTHONPATH": path},
            timeout=_ANSWER_WITHIN,
            start_new_session=True,
            check=False,
        )
        if done.returncode:
            last = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason"]
            raise ValueError(last[-1])
        return list(json.loads(done.stdout))

    def _say(self, found: list[dict[str, Any]]) -> None:
        said = []
        for one in found:
            if one["Kind"] == RETRIEVAL:
                self.on_open_retrievals()
                continue
            account = f"account {one['Account']}: " if one["Account"] else ""
            said.append(f"{account}{one['Message']}")
            _log.error("%s; %s", said[-1], one["Remedy"])
            labels = {"account": one["Account"] or "", "kind": one["Kind"]}
            self._show([Sample(PROBLEMS_FOUND, 1, labels)])
            self._show([Sample(PROBLEM_INSTANCES, one["Instances"], labels)])
        self._words = "; ".join([NO_WORKER, *said])


def may_have_a_ledger(settings: Settings) -> bool:
    """Whether rules of before may have left something to be sent."""
    return bool(settings.section.database) or (settings.storage_folder / LEDGER_FILE).exists()


def command(interpreter: str) -> list[str]:
    """What asks the ledger with some Python."""
    return [interpreter, "-P", "-m", "orthanc_gcp.worker.unattended"]
