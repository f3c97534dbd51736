"""Says in the log what needs a person: when it appears, again now and then, and when it is over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from orthanc_gcp.clock import Clock
from orthanc_gcp.custody.reporting.problems import Problem, ProblemKind

__all__ = ["CHECK_EVERY", "ProblemLog"]

_log = logging.getLogger(__name__)

CHECK_EVERY = 20.0
REMIND_EVERY = 6 * 3600.0

_What = tuple[ProblemKind, str, str, int | None, str]


class ProblemLog:
    """Logs each problem once, and again every six hours.

    Parameters
    ----------
    find
        Gives all that there are; raises SQLAlchemyError when the ledger is away.
    """

    def __init__(self, find: Callable[[], Iterable[Problem]], clock: Clock) -> None:
        self._find, self._clock = find, clock
        self._logged: dict[_What, float] = {}

    def report(self) -> bool:
        """Log what is new, what was not said for long, and what is over.

        Raises
        ------
        SQLAlchemyError
            The ledger is away.
        """
        now = self._clock.now()
        found = {one.what: one for one in self._find()}
        for what, problem in found.items():
            if now - self._logged.get(what, float("-inf")) >= REMIND_EVERY:
                self._logged[what] = now
                _log.error("%s%s; %s", _of(what), problem.message, problem.remedy)
        for what in self._logged.keys() - found.keys():
            del self._logged[what]
            _log.warning("%snothing waits any more for the %s", _of(what), _name(what))
        return True


def _of(what: _What) -> str:
    return f"account {what[1]}: " if what[1] else ""


def _name(what: _What) -> str:
    kind, _, index, number, subject = what
    name = f"{kind.value} {index or number or ''}".strip()
    return f"{name} ({subject})" if subject else name
