"""A child process of Orthanc, the worker or the gateway: started anew, and stopped with it."""

from __future__ import annotations

import logging
import os
import subprocess  # programs of ours, never by a shell  # nosec B404
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import orthanc_gcp
from orthanc_gcp.backoff import Backoff
from orthanc_gcp.worker.handshake import WorkerAddress, WorkerInput
from orthanc_gcp.worker.launch import NOT_CONFIGURED, NOT_INSTALLED
from orthanc_gcp.worker.private_socket import remove_socket

__all__ = ["WorkerProcess", "command"]

_log = logging.getLogger(__name__)
BACKOFF = Backoff(1.0, 60.0, jitter=0)
STABLE_AFTER = 60.0
"""Seconds of life after which the next delay is the first again."""
START_WITHIN = 60.0
"""Seconds that the worker may take to say where it answers; it does so before it reads a ledger."""
STOP_WITHIN = 0.8
"""Seconds that the worker may take to stop; whatever it was doing then is done again."""
FINAL = (NOT_CONFIGURED, NOT_INSTALLED)
"""Exit codes for what a new start would not mend."""
_LONGEST_LINE = 65536
_LEVELS = {name: getattr(logging, name) for name in ("INFO", "WARNING", "ERROR", "CRITICAL")}


class WorkerProcess:
    """Keeps one process running, never two.

    Parameters
    ----------
    command
        What to run; no secret is in it.
    given
        What is written to its standard input at each start.
    what
        What it is called in the log, whose lines of it have a limit of their own.
    loss
        What is not done while it does not run.

    Attributes
    ----------
    problem
        The last error that it has logged, or why it does not run; empty while it does, and at
        first.
    """

    def __init__(
        self,
        command: Sequence[str],
        given: WorkerInput,
        what: str = "worker",
        loss: str = "nothing is sent",
    ) -> None:
        self._command, self._given, self._what, self._loss = command, given, what, loss
        self._child = logging.getLogger(f"orthanc_gcp.{what}")
        self.problem = self._last_error = ""
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: Path | int | None = None
        # The kernel ends the child with the thread that has started it.
        self._thread = threading.Thread(target=self._keep_running, name=f"gcp-{what}", daemon=True)

    @property
    def socket(self) -> Path | int | None:
        """Where the worker answers, a file or a port of loopback; None while it does not run."""
        return self._socket

    def start(self) -> None:
        """Start the process, and start it again whenever it ends."""
        self._thread.start()

    def kill(self) -> None:
        """End a process that does not answer, at once; it is started again."""
        with self._lock:
            self._socket = None
            if self._process is not None:
                self._process.kill()

    def stop(self) -> None:
        """End the process; it has a moment to break off what it does."""
        with self._lock:
            self._stopping.set()
            process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
        self._thread.join(1)

    def _keep_running(self) -> None:
        delay = 0.0
        while not self._stopping.is_set():
            began = time.monotonic()
            code = self._run_once()
            if self._stopping.is_set():
                return
            if code in FINAL:
                words = "the %s cannot run as it is: %s until this is mended"
                _log.error(words, self._what, self._loss)
                self.problem = self._last_error or words % (self._what, self._loss)
                return
            lasted = time.monotonic() - began
            delay = BACKOFF.after(0.0 if lasted > STABLE_AFTER else delay)
            words = "the %s has ended (%s), it is started again in %g s"
            _log.error(words, self._what, _end(code), delay)
            self.problem = self._last_error or words % (self._what, _end(code), delay)
            self._stopping.wait(delay)

    def _run_once(self) -> int | None:
        """Run the process once; its exit code, None if it could not be started, or attended to."""
        process = None
        try:
            process = self._open_process()
            return 0 if process is None else self._attend(process)
        except Exception as error:  # no thread or no memory is left for it: that may pass
            words = str(error) or type(error).__name__
            _log.error("the %s cannot be started by %s: %s", self._what, self._command[0], words)
            if process is not None:
                self._discard(process)
            return None

    def _attend(self, process: subprocess.Popen[bytes]) -> int:
        """Tell a process what it is to do, and pass on what it says until it ends."""
        assert process.stdin and process.stdout and process.stderr  # noqa: S101 -- for mypy # nosec B101
        self._last_error = ""
        log = threading.Thread(target=self._relay, args=(process.stderr,), daemon=True)
        log.start()
        limit = threading.Timer(START_WITHIN, self._kill_unstarted, (process,))
        limit.daemon = True
        limit.start()
        with suppress(OSError):
            process.stdin.write(self._given.line())
            process.stdin.flush()  # and left open: its end is the end of Orthanc
        place = self._socket = _socket(process.stdout.readline())
        limit.cancel()
        if place is not None:
            _log.info("the %s runs", self._what)
            self.problem = ""
        code = process.wait()
        self._socket = None
        if place is not None:
            remove_socket(place)  # one that was killed has left it
        log.join(1)
        process.stdout.close()
        with suppress(OSError):  # it may have died before it had read all
            process.stdin.close()
        return code

    def _open_process(self) -> subprocess.Popen[bytes] | None:
        root = str(Path(orthanc_gcp.__file__).parent.parent)
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        with self._lock:
            if self._stopping.is_set():
                return None
            self._process = subprocess.Popen(  # noqa: S603 - a program of ours, and no shell # nosec B603
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,  # Ctrl+C at Orthanc is for Orthanc to pass on
            )
            return self._process

    def _discard(self, process: subprocess.Popen[bytes]) -> None:
        """End a process that is not attended to: the next one must not run beside it."""
        self._socket = None
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def _kill_unstarted(self, process: subprocess.Popen[bytes]) -> None:
        _log.error("the %s has not started within %g s: it is killed", self._what, START_WITHIN)
        process.kill()

    def _relay(self, lines: IO[bytes]) -> None:
        """Hand its log to Orthanc's; a line without a level belongs to the one before."""
        level = logging.WARNING
        with lines:
            for line in iter(lambda: lines.readline(_LONGEST_LINE), b""):
                text = line.decode(errors="replace").rstrip()
                name, _, rest = text.partition(" ")
                if name in _LEVELS:
                    level, text = _LEVELS[name], rest
                    if level >= logging.ERROR:
                        self._last_error = text
                self._child.log(level, "%s: %s", self._what, text)


def command(interpreter: str, what: str = "worker") -> list[str]:
    """What runs a worker, or a gateway, with some Python."""
    return [interpreter, "-P", "-m", "orthanc_gcp", what, "-"]


def _socket(line: bytes) -> Path | int | None:
    """Where the worker answers; None if it has ended instead."""
    try:
        return WorkerAddress.of_line(line).socket
    except ValueError:
        return None


def _end(code: int | None) -> str:
    if code is None:
        return "it did not start"
    return f"signal {-code}" if code < 0 else f"exit code {code}"
