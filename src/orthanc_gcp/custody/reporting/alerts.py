"""Tells a web address when something needs a person, and when it does not any more: once each."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from orthanc_gcp.backoff import Backoff
from orthanc_gcp.errors import GcpError
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.outages import Outage

__all__ = ["Alerts"]

_BACKOFF = Backoff(5.0, 300.0, jitter=0)
LEASE = 60.0
"""Seconds for which one of several workers may be telling before another tries."""
CALM = 0.5
"""A backlog is over below this part of the age that raised it, so that it does not flicker."""


class Alerts:
    """Quarantines and old backlogs of all accounts; what was told is in the ledger.

    Parameters
    ----------
    backlog_age
        Seconds that the oldest instance may wait to be sent.
    post
        Sends a JSON document under an id; raises GcpError when it was not taken. The id stays the
        same until it was taken, whoever sends it, so that a receiver can drop doubles.
    outage
        Takes what keeps it from being taken.
    """

    def __init__(
        self,
        ledger: Ledger,
        backlog_age: float,
        post: Callable[[str, bytes], None],
        outage: Outage,
    ) -> None:
        self._ledger, self._backlog_age, self._post = ledger, backlog_age, post
        self._outage = outage
        self._failures = 0
        self._resume = float("-inf")

    def look(self, overview: Iterable[Mapping[str, Any]]) -> None:
        """Tell what has changed since it was told last."""
        for account in overview:
            if self._ledger.now() < self._resume:
                return
            told = self._ledger.key_value(_name(account["Account"])) or {}
            for alarm, raised in self._alarms(account, told).items():
                if raised != bool(told.get(alarm)):
                    self._tell(account, alarm, raised=raised)

    def _alarms(self, account: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, bool]:
        age = account["OldestUnsentSeconds"] or 0.0
        limit = self._backlog_age * (CALM if told.get("Backlog") else 1)
        return {"Quarantine": account["Quarantined"]["Instances"] > 0, "Backlog": age > limit}

    def _tell(self, account: Mapping[str, Any], alarm: str, *, raised: bool) -> None:
        name = _name(account["Account"])
        identifier = self._claim(name, alarm, raised=raised)
        if identifier is None:
            return
        try:
            self._post(identifier, self._words(account, alarm, raised=raised))
        except GcpError as error:
            self._failures += 1
            pause = _BACKOFF.delay(self._failures)
            self._resume = self._ledger.now() + pause
            self._outage.failed(str(error), pause, kind=error.kind)
            self._ledger.change_key_value(name, lambda told: {**told, "Until": 0})
            return
        self._failures = 0
        self._outage.ended()
        done = {alarm: raised, "Until": 0, _id_of(alarm): None}
        self._ledger.change_key_value(name, lambda told: {**told, **done})

    def _claim(self, name: str, alarm: str, *, raised: bool) -> str | None:
        """The id to tell it under, if it is for this worker to tell."""
        now, identifier = self._ledger.now(), None

        def claimed(told: Any) -> Any:
            nonlocal identifier
            told = told or {}
            busy = now < told.get("Until", 0) <= now + LEASE
            if busy or bool(told.get(alarm)) == raised:
                return told
            identifier = told.get(_id_of(alarm)) or f"msg_{secrets.token_hex(16)}"
            return {**told, "Until": now + LEASE, _id_of(alarm): identifier}

        self._ledger.change_key_value(name, claimed)
        return identifier

    def _words(self, account: Mapping[str, Any], alarm: str, *, raised: bool) -> bytes:
        """What is sent: counts and times, nothing of a patient or an instance."""
        now = datetime.fromtimestamp(self._ledger.now(), UTC)
        document = {
            "Account": account["Account"],
            "Alarm": alarm,
            "Raised": raised,
            "Time": now.isoformat(timespec="milliseconds"),
            "QuarantinedInstances": account["Quarantined"]["Instances"],
            "WaitingInstances": account["Waiting"]["Instances"],
            "OldestUnsentSeconds": account["OldestUnsentSeconds"],
        }
        return json.dumps(document).encode()


def _id_of(alarm: str) -> str:
    """Where the id of an alarm stands while it is not taken."""
    return f"{alarm}Id"


def _name(account: str) -> str:
    return f"alarms:{account}"
