"""What a gateway has answered since it started, counted for its status and metrics."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from dataclasses import dataclass, field

__all__ = ["Figures", "Responses"]


@dataclass(frozen=True)
class Responses:
    """The requests of one DIMSE service that have ended.

    Attributes
    ----------
    by_status
        How many ended with each status (PS3.7 annex C).
    seconds
        What they took together.
    """

    by_status: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0


class Figures:
    """Counts; safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def ended(self, service: str, status: int, seconds: float) -> None:
        """Note the end of a request.

        Parameters
        ----------
        service
            As DICOM names it, ``C-FIND`` for example.
        status
            That of its last response.
        """
        with self._lock:
            self._counts[service][status] += 1
            self._seconds[service] += seconds

    def responses(self) -> dict[str, Responses]:
        """Service -> the requests that have ended so far."""
        with self._lock:
            return {
                service: Responses(dict(counts), self._seconds[service])
                for service, counts in sorted(self._counts.items())
            }
