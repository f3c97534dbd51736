"""Processes in which codecs run: started when they are needed, and again when they die.

See :mod:`orthanc_gcp.emulator.dicom.imaging_process` for their side. Where open files cannot be
handed to a process (Windows), codecs run in threads of this one, one at a time: what crashes there
ends the emulator.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import signal
import socket
import subprocess  # programs of ours, never by a shell  # nosec B404
import sys
import tempfile
import threading
import warnings
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, BinaryIO, Protocol

from orthanc_gcp.emulator.dicom.imaging_errors import ImagingError
from orthanc_gcp.emulator.dicom.imaging_jobs import MAX_LINE, Job, to_line

__all__ = ["ImagingPool", "ImagingProcessError"]

MAX_PROCESSES = 4
START_LIMIT = 60.0
"""Seconds until a process that was started answers for the first time, its first frame included."""
TIME_LIMIT = 60.0
"""Seconds that a frame may take; an instance has so many for each of its frames."""

_DYING = 1.0
"""Seconds until a process that broke its connection off has ended."""
_STOPS = "the emulator stops"
_MODULE = "orthanc_gcp.emulator.dicom.imaging_process"


class ImagingProcessError(Exception):
    """No process can be had, or it failed for a reason that is not in the image."""


class DeadProcessError(ImagingError):
    """The process died of what it was asked to do."""


class TooSlowError(ImagingError):
    """The process was ended, because it took too long."""


class Imager(Protocol):
    """What has jobs carried out, one after another."""

    def carry_out(self, job: Job, source: int, target: int) -> None:
        """Have a job done, about one open file, with another to write to.

        Raises :class:`ImagingError` when the image cannot be had like this; as
        :class:`DeadProcessError` when the process died of it, as :class:`TooSlowError` when it took
        too long and was ended. Raises :class:`ImagingProcessError` when the image is not at fault.
        """

    @property
    def is_alive(self) -> bool:
        """Whether it can have another job."""

    def kill(self) -> None:
        """End it, whatever it is doing, from any thread."""

    def close(self) -> None:
        """End it, and give back what it takes here."""


class Connection:
    """A process, and the socket to it; started by construction.

    Raises
    ------
    ImagingProcessError
        When it cannot be started.
    """

    def __init__(self, time_limit: float) -> None:
        self._time_limit = time_limit
        self._is_ended = False
        self._socket, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = _start(theirs)
        except OSError as error:
            self._socket.close()
            raise ImagingProcessError(f"the imaging process cannot be started: {error}") from error
        self._socket.settimeout(START_LIMIT)
        self._answers = self._socket.makefile("rb")
        # Whenever it ends, it is waited for, and no zombie.
        self._end = threading.Thread(target=self._process.wait, daemon=True)
        self._end.start()

    def carry_out(self, job: Job, source: int, target: int) -> None:
        """Have a job done, about one open file, with another to write to.

        Raises :class:`ImagingError` when the image cannot be had like this; as
        :class:`DeadProcessError` when the process died of it, as :class:`TooSlowError` when it took
        too long and was ended. Raises :class:`ImagingProcessError` when the image is not at fault.
        """
        try:
            socket.send_fds(self._socket, [to_line(job)], [source, target])
            answer = self._receive()
            while "progress" in answer:
                answer = self._receive()
        except TimeoutError:
            self.kill()
            raise TooSlowError("the image takes too long to decode or encode") from None
        except (OSError, ValueError):
            raise self._end_of_process() from None
        _raise_for(answer)

    @property
    def is_alive(self) -> bool:
        """Whether it can have another job."""
        return not self._is_ended and self._process.poll() is None

    def kill(self) -> None:
        """End the process, whatever it is doing, from any thread."""
        self._is_ended = True
        with suppress(OSError):
            # Other processes may have inherited the socket: closing ours would not be enough.
            self._socket.shutdown(socket.SHUT_RDWR)
        self._process.kill()

    def close(self) -> None:
        """End the process, and give back what it takes here."""
        self.kill()
        self._end.join()
        self._answers.close()
        self._socket.close()

    def _end_of_process(self) -> ImagingError | ImagingProcessError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_DYING)
        code = self._process.poll()
        self.kill()
        if code is not None and code < 0:
            return DeadProcessError(f"the codec crashed ({signal.strsignal(-code)})")
        return ImagingProcessError(f"the imaging process ended (exit code {code})")

    def _receive(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._answers.readline(MAX_LINE))
        self._socket.settimeout(self._time_limit)
        return answer


class ImagingThread:
    """Carries out jobs in threads of this process; no two at a time, of however many objects."""

    _one_at_a_time = threading.Lock()

    def __init__(self, time_limit: float) -> None:
        self._time_limit = time_limit
        self._is_ended = False

    def carry_out(self, job: Job, source: int, target: int) -> None:
        """See :class:`Imager`; what takes too long goes on, and no other job begins meanwhile."""
        if not self._one_at_a_time.acquire(timeout=START_LIMIT):
            raise ImagingProcessError("the image before this one is still being decoded")
        answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        files = os.fdopen(os.dup(source), "rb"), os.fdopen(os.dup(target), "r+b")
        run = threading.Thread(target=self._run, args=(job, *files, answers.put), daemon=True)
        run.start()
        try:
            answer = answers.get(timeout=START_LIMIT)
            while "progress" in answer:
                answer = answers.get(timeout=self._time_limit)
        except queue.Empty:
            self.kill()
            raise TooSlowError("the image takes too long to decode or encode") from None
        run.join(self._time_limit)
        _raise_for(answer)

    @property
    def is_alive(self) -> bool:
        return not self._is_ended

    def kill(self) -> None:
        self._is_ended = True

    def close(self) -> None:
        self._is_ended = True

    def _run(
        self,
        job: Job,
        source: BinaryIO,
        target: BinaryIO,
        send: Callable[[dict[str, Any]], None],
    ) -> None:
        # Codecs are loaded with it, which nothing else in the emulator's process needs.
        from orthanc_gcp.emulator.dicom.imaging_process import Imaging

        imaging = Imaging(send)
        try:
            with source, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they say what is in the image
                imaging.answer(job, source, target)
        finally:
            imaging.close()
            self._one_at_a_time.release()


def _raise_for(answer: dict[str, Any]) -> None:
    if "refusal" in answer:
        raise ImagingError(answer["refusal"])
    if "failure" in answer:
        raise ImagingProcessError(f"the imaging process failed: {answer['failure']}")


class ImagingPool:
    """Has images decoded, encoded and rendered, each job in one of a few processes.

    Parameters
    ----------
    time_limit : float
        Seconds that a frame may take.
    """

    def __init__(self, time_limit: float = TIME_LIMIT) -> None:
        self._time_limit = time_limit
        can_hand_over = hasattr(socket, "send_fds") and hasattr(socket, "AF_UNIX")
        self._new: Callable[[float], Imager] = Connection if can_hand_over else ImagingThread
        size = min(os.cpu_count() or 1, MAX_PROCESSES)
        self._threads = ThreadPoolExecutor(size, "imaging")
        self._idle: deque[Imager] = deque()
        self._all: set[Imager] = set()
        self._lock = threading.Lock()
        self._is_closed = False

    async def carry_out(self, job: Job, source: int) -> BinaryIO:
        """Return a temporary file with what a job makes of an open file.

        Raises :class:`ImagingError` and :class:`ImagingProcessError`.
        """
        future = self.begin(job, source)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            future.add_done_callback(_close_result)
            raise

    def begin(self, job: Job, source: int) -> Future[BinaryIO]:
        """Return what will be what :meth:`carry_out` returns or raises.

        Raises :class:`ImagingProcessError` after :meth:`close`.
        """
        copy = os.dup(source)
        try:
            future = self._threads.submit(self._make, job, copy)
        except RuntimeError:
            os.close(copy)
            raise ImagingProcessError(_STOPS) from None
        future.add_done_callback(lambda _: os.close(copy))
        return future

    def close(self) -> None:
        """End the processes; jobs that have not ended fail."""
        with self._lock:
            self._is_closed = True
            for process in self._all:
                process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._all:
            process.close()

    def _make(self, job: Job, source: int) -> BinaryIO:
        try:
            target = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - the caller closes it
        except OSError as error:
            raise ImagingProcessError(f"no temporary file can be had: {error}") from error
        try:
            try:
                self._carry_out(job, source, target)
            except DeadProcessError:
                # It may have been ended from outside, as those that are idle may have been.
                target.truncate(0)
                target.seek(0)
                self._carry_out(job, source, target, fresh=True)
        except BaseException:
            target.close()
            raise
        target.seek(0)
        return target

    def _carry_out(self, job: Job, source: int, target: BinaryIO, *, fresh: bool = False) -> None:
        process = self._take(fresh=fresh)
        try:
            process.carry_out(job, source, target.fileno())
        finally:
            self._put_back(process)

    def _put_back(self, process: Imager) -> None:
        if process.is_alive:
            self._idle.append(process)
            return
        with self._lock:
            self._all.remove(process)
        process.close()

    def _take(self, *, fresh: bool) -> Imager:
        """Return a new process, or else the one that was used last, if it is idle."""
        with self._lock:
            if self._is_closed:
                raise ImagingProcessError(_STOPS)
            while self._idle:
                process = self._idle.pop()
                if process.is_alive and not fresh:
                    return process
                self._all.remove(process)
                process.close()
            process = self._new(self._time_limit)
            self._all.add(process)
            return process


def _start(connection: socket.socket) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own interpreter # nosec B603
        [sys.executable, "-P", "-W", "ignore", "-m", _MODULE],
        stdin=connection.fileno(),
        stdout=subprocess.DEVNULL,
        env=_environment(),
        start_new_session=True,  # Ctrl+C is for the emulator, which ends it
    )


def _environment() -> dict[str, str]:
    """Return an environment in which the process imports what this one does."""
    path = os.pathsep.join(entry or os.curdir for entry in sys.path)
    # One thread is enough for what NumPy does here, and others would take address space.
    return {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def _close_result(future: Future[BinaryIO]) -> None:
    if not future.cancelled() and future.exception() is None:
        future.result().close()
