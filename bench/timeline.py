"""Where the time of a transfer goes: its requests on its connections, as a text.

A line is a connection, or several that follow each other, and a column a moment. A letter tells
the kind of a request: upper case while its bytes leave, lower case while its answer is waited for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from bench.network import MEGABYTE, Network
from bench.traffic import (
    KINDS,
    OTHER,
    RETRIEVE,
    SEARCH,
    STOW,
    TOKEN,
    Connection,
    Exchange,
    exchanges_of,
)

__all__ = ["LEGEND", "Timeline"]

_LETTERS = {STOW: "S", SEARCH: "Q", RETRIEVE: "R", TOKEN: "T", OTHER: "O"}
_COLUMNS = 100
_MOST_LINES = 40
_ANSWER, _REFUSED, _OPENING, _IDLE, _NONE = "<", "!", "+", ".", " "

LEGEND = (
    "S: bytes of a store request leave; s: its answer is waited for; Q, q: a search; R, r: a "
    "retrieval; T, t: a token; O, o: another request; <: an answer comes; !: it is a refusal, 400 "
    "or more; +: a connection is open and had no request yet; .: it is idle."
)


@dataclass(frozen=True)
class _Span:
    """A part of a connection's life, and the sign for it."""

    begins: float
    ends: float
    sign: str


@dataclass(frozen=True)
class Timeline:
    """The connections of a transfer, from the moment when it began until it had ended."""

    connections: Sequence[Connection]
    began: float
    ended: float

    @property
    def exchanges(self) -> list[Exchange]:
        """The requests that were under way in that time."""
        return [
            exchange
            for exchange in exchanges_of(self.connections)
            if exchange.first_sent < self.ended and _end(exchange, self.ended) > self.began
        ]

    @property
    def most_connections(self) -> int:
        """How many connections carried requests at the same time: each has one at a time."""
        return _overlap(self.exchanges, self.ended)

    @property
    def refused(self) -> float:
        """The share of requests that the quota refused, 0 to 1."""
        exchanges = self.exchanges
        return sum(one.is_refused for one in exchanges) / len(exchanges) if exchanges else 0.0

    def text(self, network: Network) -> str:
        """The picture, and a summary below it."""
        return "\n".join((*self.picture(), "", *self.summary(network)))

    def picture(self) -> Iterator[str]:
        """The connections one below the other, the moments from left to right."""
        lanes = self._lanes()
        width = len(str(len(lanes)))
        yield f"{'':{width}} {self._scale()}"
        for number, lane in enumerate(lanes[:_MOST_LINES], 1):
            yield f"{number:{width}} {self._line(lane)}".rstrip()
        if len(lanes) > _MOST_LINES:
            yield f"and {len(lanes) - _MOST_LINES} more connections at the same time"

    def summary(self, network: Network) -> Iterator[str]:
        """What was sent, by the kind of request, and where the time went."""
        yield self.overview(network)
        if shares := self._shares():
            yield shares
        for kind in KINDS:
            chosen = [one for one in self.exchanges if one.kind == kind]
            if chosen:
                yield f"{kind}: {self._of_kind(chosen)}"
        stored = [one for one in self.exchanges if one.kind == STOW]
        if stored:
            yield ", ".join(f"{name} {moment:.2f} s" for name, moment in self._moments(stored))

    def overview(self, network: Network) -> str:
        """In one line: how long, over how many connections, and how much of them was used."""
        seconds, exchanges, refused = self.ended - self.began, self.exchanges, 100 * self.refused
        most = self.most_connections
        sent = sum(one.sent_bytes for one in exchanges)
        room = most * seconds * network.bandwidth
        share = f" ({100 * sent / room:.0f} % of what they carry)" if room else ""
        opened = [one for one in self.connections if self.began <= one.opened < self.ended]
        resumed = sum(one.resumed for one in opened)
        again = f" ({resumed} resumed)" if resumed else ""
        return (
            f"{seconds:.2f} s, requests: {len(exchanges)}, {sent / MEGABYTE:.1f} MB, connections "
            f"at once: {most}{share}, opened: {len(opened)}{again}, "
            f"refused with 429: {refused:.1f} %"
        )

    def _shares(self) -> str:
        """Where the time of the connections went, of as many as were used at once."""
        end, exchanges = self.ended, self.exchanges
        room = self.most_connections * (end - self.began)
        if not room:
            return ""
        sending = sum(_sent(one, end) - max(one.first_sent, self.began) for one in exchanges)
        waiting = sum(_answered(one, end) - _sent(one, end) for one in exchanges)
        answers = sum(_end(one, end) - _answered(one, end) for one in exchanges)
        parts = {"sending": sending, "waiting for answers": waiting, "reading them": answers}
        words = [f"{name} {100 * part / room:.0f} %" for name, part in parts.items()]
        rest = 100 * (1 - sum(parts.values()) / room)
        return f"time of {self.most_connections} connections: {', '.join(words)}, idle {rest:.0f} %"

    def _of_kind(self, chosen: Sequence[Exchange]) -> str:
        end = self.ended
        sending = [_sent(one, end) - one.first_sent for one in chosen]
        waits = [_answered(one, end) - _sent(one, end) for one in chosen]
        instances = sum(one.instances for one in chosen)
        failed = sum(one.status >= 400 for one in chosen)
        return ", ".join(
            (
                f"{len(chosen)}",
                *((f"instances {instances}",) if instances else ()),
                f"{sum(one.sent_bytes for one in chosen) / MEGABYTE:.1f} MB",
                f"sending {sum(sending):.2f} s (median {median(sending):.3f} s)",
                f"waiting {sum(waits):.2f} s (median {median(waits):.3f} s)",
                f"at once {_overlap(chosen, end)}",
                *((f"failed {failed}",) if failed else ()),
            )
        )

    def _moments(self, stored: Sequence[Exchange]) -> Iterator[tuple[str, float]]:
        end = self.ended
        yield "first byte of a store request at", min(x.first_sent for x in stored) - self.began
        yield "last byte at", max(_sent(one, end) for one in stored) - self.began
        yield "last answer at", max(_end(one, end) for one in stored) - self.began
        others = [_end(one, end) for one in self.exchanges if one.kind in (SEARCH, RETRIEVE)]
        if others:
            yield "last answer to a search or retrieval at", max(others) - self.began
        yield "end at", end - self.began

    def _lanes(self) -> list[list[Connection]]:
        """Connections on as few lines as they need; each line has some that follow each other."""
        lanes: list[list[Connection]] = []
        used = [one for one in self.connections if self._is_used(one)]
        for connection in sorted(used, key=lambda one: one.opened):
            free = (lane for lane in lanes if self._closed(lane[-1]) <= connection.opened)
            lane = next(free, None)
            if lane is None:
                lanes.append([connection])
            else:
                lane.append(connection)
        return lanes

    def _is_used(self, connection: Connection) -> bool:
        return any(
            one.first_sent < self.ended and _end(one, self.ended) > self.began
            for one in connection.exchanges
        )

    def _closed(self, connection: Connection) -> float:
        return self.ended if connection.closed is None else connection.closed

    def _scale(self) -> str:
        seconds = self.ended - self.began
        marks = [f"{seconds * part / 5:.2f} s" for part in range(5)]
        return "".join(f"{mark:{_COLUMNS // 5}}" for mark in marks) + f"{seconds:.2f} s"

    def _line(self, lane: Sequence[Connection]) -> str:
        spans = [span for connection in lane for span in self._spans(connection)]
        step = (self.ended - self.began) / _COLUMNS
        edges = [self.began + step * column for column in range(_COLUMNS + 1)]
        return "".join(_sign(spans, *pair) for pair in pairwise(edges))

    def _spans(self, connection: Connection) -> Iterator[_Span]:
        """From its opening to its end, without a gap."""
        end, at, idle = self.ended, connection.opened, _OPENING
        for one in connection.exchanges:
            letter = _LETTERS[one.kind]
            yield _Span(at, one.first_sent, idle)
            yield _Span(one.first_sent, _sent(one, end), letter)
            yield _Span(_sent(one, end), _answered(one, end), letter.lower())
            yield _Span(
                _answered(one, end), _end(one, end), _REFUSED if one.status >= 400 else _ANSWER
            )
            at, idle = _end(one, end), _IDLE
        yield _Span(at, self._closed(connection), idle)


def _sign(spans: Sequence[_Span], begins: float, ends: float) -> str:
    """The sign of what takes most of a column; a refusal is seen however short it is."""
    shares: dict[str, float] = {}
    for span in spans:
        if begins <= span.begins < ends or span.begins < begins < span.ends:
            if span.sign == _REFUSED:
                return _REFUSED
            share = min(ends, span.ends) - max(begins, span.begins)
            shares[span.sign] = shares.get(span.sign, 0.0) + share
    return max(shares, key=lambda sign: shares[sign], default=_NONE)


def _sent(exchange: Exchange, end: float) -> float:
    """When its last byte left: if it never did, when its answer came."""
    if exchange.last_sent is not None:
        return min(exchange.last_sent, end)
    return _answered(exchange, end)


def _answered(exchange: Exchange, end: float) -> float:
    return _or(exchange.first_answered, end)


def _end(exchange: Exchange, end: float) -> float:
    return _or(exchange.last_answered, end)


def _or(moment: float | None, end: float) -> float:
    return end if moment is None else min(moment, end)


def _overlap(exchanges: Sequence[Exchange], end: float) -> int:
    """How many were under way at the same time."""
    steps = [(one.first_sent, 1) for one in exchanges]
    steps += [(_end(one, end), -1) for one in exchanges]
    now = most = 0
    for _, step in sorted(steps):
        now += step
        most = max(most, now)
    return most
