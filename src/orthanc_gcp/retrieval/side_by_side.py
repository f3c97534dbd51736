"""Small files of one request on their way into Orthanc: several in memory, given side by side."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from functools import partial
from math import ceil

from orthanc_gcp.errors import OrthancError, StoreError
from orthanc_gcp.ledger.retrievals.rows import Coming, Digests, RetrievedRow
from orthanc_gcp.reasons import StoreReason
from orthanc_gcp.retrieval.judgement import Judgement
from orthanc_gcp.retrieval.upload import digests_of
from orthanc_gcp.thread_pools import is_shut_down, submit

__all__ = ["LARGEST", "SideBySide"]

LARGEST = 512 * 1024
"""Bytes of a file that is held in memory."""
MOST_BYTES, MOST_FILES = 512 * 1024, 64
"""As soon as there is so much it goes, while as much is read behind it."""
_PART, _PART_BYTES = 8, 192 * 1024
"""So many files at least, where there are more, and bytes at most, unless it is one file, are given
by a thread, one after the other."""


@dataclass(frozen=True)
class _File:
    row: RetrievedRow
    content: bytes
    digests: Digests


_Answer = tuple[_File, Judgement | OrthancError]
PassedOver = Callable[[Sequence[tuple[RetrievedRow, Digests]]], Container[int]]


class SideBySide:
    """Gives Orthanc files, some while others are still read; for one thread.

    Parameters
    ----------
    pool
        Gives the files.
    note
        Writes down what is about to be given, and how often it was.
    give
        Gives Orthanc some files; what it says of each, one after the other.
    settle
        Gets what Orthanc says of each.
    passed_over
        The rows, by their numbers, of those that are not to be given.
    """

    def __init__(
        self,
        pool: Executor,
        note: Callable[[Sequence[Coming]], None],
        give: Callable[[Sequence[bytes]], Iterable[Judgement]],
        settle: Callable[[RetrievedRow, Digests, Judgement], None],
        passed_over: PassedOver = lambda _: (),
    ) -> None:
        self._pool, self._note, self._give, self._settle = pool, note, give, settle
        self._passed_over = passed_over
        self._read: list[_File] = []
        self._given: list[Future[list[_Answer]]] = []

    def add(self, row: RetrievedRow, content: bytes) -> None:
        """Take a file.

        Raises
        ------
        OrthancError
            Orthanc was away when it was given one of those before.
        StoreError
            It is broken off, as this program ends.
        SQLAlchemyError
            The ledger is away: what is not given yet is not noted, and not given.
        """
        self._read.append(_File(row, content, digests_of(content)))
        size = sum(len(one.content) for one in self._read)
        if size >= MOST_BYTES or len(self._read) >= MOST_FILES:
            self._begin()

    def end(self) -> None:
        """Give what was taken, and wait until all of it was; raises as :meth:`add`."""
        try:
            if self._read:
                self._begin()
        finally:
            self._finish()

    def _begin(self) -> None:
        some, self._read = self._read, []
        self._finish()
        left = self._passed_over([(one.row, one.digests) for one in some])
        some = [one for one in some if one.row.id not in left]
        # That it was given is counted before: one that ends Orthanc ends this process with it.
        self._note([Coming(one.row.id, one.row.attempts + 1, one.digests) for one in some])
        for part in _parts(some):
            self._given.append(self._begun(partial(self._give_some, part)))

    def _begun(self, give: Callable[[], list[_Answer]]) -> Future[list[_Answer]]:
        """Let a thread give some, or give them at once where none can be started."""
        try:
            return submit(self._pool, give)
        except RuntimeError as error:
            if is_shut_down(error):
                words = "it was broken off"
                raise StoreError(words, reason=StoreReason.ABORTED, retryable=True) from None
        given = Future[list[_Answer]]()
        given.set_result(give())
        return given

    def _give_some(self, some: Sequence[_File]) -> list[_Answer]:
        answers: list[_Answer] = []
        try:
            for one, judgement in zip(
                some, self._give([one.content for one in some]), strict=False
            ):
                answers.append((one, judgement))
        except OrthancError as error:
            answers += [(one, error) for one in some[len(answers) :]]
        return answers

    def _finish(self) -> None:
        """Settle all that was given; an error only then."""
        given, self._given = self._given, []
        wait(given)
        failed: OrthancError | None = None
        for one, answer in (answer for future in given for answer in future.result()):
            try:
                if isinstance(answer, OrthancError):
                    raise answer
                self._settle(one.row, one.digests, answer)
            except OrthancError as error:
                failed = failed or error
        if failed is not None:
            raise failed


def _parts(some: Sequence[_File]) -> Iterator[list[_File]]:
    most = ceil(len(some) / max(1, len(some) // _PART))
    part, size = list[_File](), 0
    for one in some:
        if part and (len(part) >= most or size + len(one.content) > _PART_BYTES):
            yield part
            part, size = [], 0
        part.append(one)
        size += len(one.content)
    if part:
        yield part
