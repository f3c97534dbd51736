"""Small GETs in a pipeline: sent ahead on a connection, answered in their order (RFC 9112 §9.3.2).

urllib3 has none, and takes a tenth of a millisecond of the processor for each request: for small
instances that is a quarter of what their sending costs as a whole.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import lru_cache
from typing import NamedTuple

from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError

from orthanc_gcp.transport.deadlines import ConsecutiveResponses

__all__ = ["Answer", "pipelined"]

MOST_AHEAD = 32
"""Requests without an answer: they fit into any socket's buffer, so that nobody waits for room."""
LONGEST_BODY = 64 * 1024
_END_OF_HEAD = b"\r\n\r\n"
_STATUS = re.compile(rb"HTTP/1\.1 (200|[45][0-9]{2})[ \r]")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,5})[ \t]*(?=\r\n)", re.IGNORECASE)
_ODD = re.compile(rb"\r\n(transfer-encoding|connection:[ \t]*close)|\r\n[ \t]", re.IGNORECASE)
"""What takes more than to count bytes: another coding, the last answer, a folded line."""


class Answer(NamedTuple):
    """What was answered to one request."""

    status: int
    body: bytes


def pipelined(connect: Callable[[], HTTPConnection], requests: Sequence[bytes]) -> Iterator[Answer]:
    """The answers, from the first on, as far as they come.

    There are fewer than requests where the other side does not answer, knows no pipelines, or says
    what cannot be understood: asking for the rest one by one tells which.

    Parameters
    ----------
    connect
        Makes a connection, with a time limit.
    requests
        Whole requests without bodies, which may be sent twice.
    """
    answered = 0
    while answered < len(requests):
        before = answered
        try:
            with closing(connect()) as connection:
                connection.connect()
                for answer in _on_one(connection, requests[answered:]):
                    answered += 1
                    yield answer
        except (OSError, HTTPError, http.client.HTTPException):
            pass  # it may be closed after so many requests, or so many seconds
        if answered == before:
            return


def _on_one(connection: HTTPConnection, requests: Sequence[bytes]) -> Iterator[Answer]:
    """The answers until the connection ends."""
    responses, sent = ConsecutiveResponses(connection.sock), 0
    for number in range(len(requests)):
        if sent - number <= MOST_AHEAD // 2:
            ahead = requests[sent : number + MOST_AHEAD]
            connection.sock.sendall(b"".join(ahead))
            sent += len(ahead)
        plain = _plain(responses)
        if plain is not None:
            yield plain
            continue
        response = responses.next()
        yield Answer(response.status, _body(response))
        if response.will_close:
            return


def _plain(responses: ConsecutiveResponses) -> Answer | None:
    """The next answer, if it is there already, and is as most are; otherwise it is read with care.

    The parser of heads in the standard library takes most of the time of a small answer.
    """
    seen = responses.peek()
    end = seen.find(_END_OF_HEAD)
    head = seen[: end + len(_END_OF_HEAD)] if end >= 0 else b""
    understood = _understood(head)
    if understood is None:
        return None
    status, length = understood
    whole = len(head) + length
    if whole > len(seen):
        return None
    responses.skip(whole)
    return Answer(status, seen[len(head) : whole])


@lru_cache(maxsize=16)  # the heads of answers to the same question are mostly the same
def _understood(head: bytes) -> tuple[int, int] | None:
    """The status, and the length of the body, if a head is as most are."""
    status, lengths = _STATUS.match(head), _LENGTH.findall(head)
    if status is None or len(lengths) != 1 or _ODD.search(head):
        return None
    return int(status[1]), int(lengths[0])


def _body(response: http.client.HTTPResponse) -> bytes:
    if response.chunked:
        body = response.read(LONGEST_BODY + 1)
    elif response.length is not None and response.length <= LONGEST_BODY:
        return response.read()
    else:
        raise http.client.HTTPException("the answer is too long, or does not say where it ends")
    if len(body) > LONGEST_BODY:
        raise http.client.HTTPException("the answer is too long")
    return body
