"""How often somebody may have Google asked at once: for a token, or for a check of an account."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from orthanc_gcp.clock import Clock

__all__ = ["AT_ONCE", "EVERY", "DemandLimit"]

AT_ONCE, EVERY = 10, 6.0
"""So many requests at once, and one more after so many seconds."""


@dataclass
class DemandLimit:
    """A token bucket for one account; safe for several threads."""

    clock: Clock
    _left: float = AT_ONCE
    _at: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> float:
        """Take one request; 0, or the seconds after which there is one."""
        with self._lock:
            now = self.clock.now()
            self._left = min(AT_ONCE, self._left + max(0.0, now - self._at) / EVERY)
            self._at = now
            if self._left < 1:
                return (1 - self._left) * EVERY
            self._left -= 1
            return 0.0
