"""The caps of accounts, which the gateway's downloads and the workers' transfers share."""

from __future__ import annotations

from orthanc_gcp.configuration import Account, Settings
from orthanc_gcp.custody.destinations.rate_limit import byte_limit, request_limit
from orthanc_gcp.gateway.retrieve.limits import Bookings, Limits, LimitsOf, Wait

__all__ = ["limits_of"]


def limits_of(settings: Settings, bookings: Bookings) -> LimitsOf:
    """What holds back the requests of a retrieval: ``MaxRequestsPerMinute``, ``MaxBytesPerSecond``.

    Parameters
    ----------
    bookings
        Where it stands until when they are used up.
    """
    accounts: dict[str, Account] = {one.name: one for one in settings.accounts}

    def of(name: str, wait: Wait) -> Limits:
        account = accounts[name]
        return Limits(request_limit(account, bookings, wait), byte_limit(account, bookings, wait))

    return of
