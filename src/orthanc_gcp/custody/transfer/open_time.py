"""For how long something could be sent: what the option ``GiveUpAfterSeconds`` counts.

Nobody has tried in vain while a person has paused the account, or while no worker of its Orthanc
ran; nor for the hours by which a clock was set forward. So the ledger has the periods in which a
worker would have sent.
"""

from __future__ import annotations

from typing import Any

from orthanc_gcp.ledger.ledger import Ledger

__all__ = ["OpenTime"]

LONGEST_STEP = 90.0
"""Seconds between two moments of one period, at most; workers note one every half a minute."""
MOST_PERIODS = 100
"""So many are remembered; what is older than those waits for longer."""

Period = tuple[float, float]


class OpenTime:
    """When what an Orthanc has for an account could be sent, in UTC seconds.

    Every method raises SQLAlchemyError when the ledger is away; nothing was noted then.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def note(self, account: str, source: str, seconds: float) -> float | None:
        """It may be sent just now; the moment since when it could be for so many seconds in all.

        Parameters
        ----------
        source
            What the ledger calls the index of the Orthanc.

        Returns
        -------
        float or None
            None where it could not be for as long yet.
        """
        now, since = self._ledger.now(), None

        def noted(before: list[Any] | None) -> list[Any]:
            nonlocal since
            periods, since = _last(_extended(_periods(before), now), seconds)
            return [list(one) for one in periods]

        self._ledger.key_values.change(f"open:{account}:{source}", list, noted)
        return since


def _periods(noted: list[Any] | None) -> list[Period]:
    """What is damaged is left out."""
    return [
        (one[0], one[1])
        for one in noted or ()
        if isinstance(one, list)
        and len(one) == 2
        and all(isinstance(moment, int | float) for moment in one)
    ]


def _extended(periods: list[Period], now: float) -> list[Period]:
    """With this moment; without what is later, by a clock that was set back since."""
    past = [(began, min(ended, now)) for began, ended in periods if began <= now]
    if past and now - past[-1][1] <= LONGEST_STEP:
        return [*past[:-1], (past[-1][0], now)]
    return [*past, (now, now)][-MOST_PERIODS:]


def _last(periods: list[Period], seconds: float) -> tuple[list[Period], float | None]:
    """The last of them that make so many seconds, if they do, and the moment since when."""
    for number in range(len(periods) - 1, -1, -1):
        began, ended = periods[number]
        if ended - began >= seconds:
            return periods[number:], ended - seconds
        seconds -= ended - began
    return periods, None
