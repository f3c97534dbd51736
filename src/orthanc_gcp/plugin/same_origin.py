"""Whether a request comes from a page of another origin, in the browser of somebody who may ask.

A browser sends passwords along that it knows for Orthanc, and a form needs nobody's permission:
any page could have something sent, paused or refreshed (cross-site request forgery). Browsers say
where a request comes from: ``Origin`` (RFC 6454 section 7) and ``Sec-Fetch-Site`` (W3C, "Fetch
Metadata Request Headers"). Programs send neither, and are not held up.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

__all__ = ["is_foreign"]

_OWN_SITES = ("same-origin", "none")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def is_foreign(headers: Mapping[str, str]) -> bool:
    """Whether a request was made by a page that is not Orthanc's own.

    Parameters
    ----------
    headers
        Those of the request, with names in lower case.
    """
    site = headers.get("sec-fetch-site", "").strip().lower()
    if site in _OWN_SITES:
        return False  # the browser says so, whatever a proxy has made of Host
    origin = headers.get("origin", "").strip().lower()
    if not origin:
        return bool(site)
    # A page cannot set the second, which a proxy sets, without asking Orthanc first.
    own = [headers.get("host", ""), *headers.get("x-forwarded-host", "").split(",")]
    return not any(_is_same(origin, host.strip().lower()) for host in own if host.strip())


def _is_same(origin: str, host: str) -> bool:
    """Whether an origin is a host with its port; the scheme may have changed at a proxy."""
    try:
        theirs, ours = urlsplit(origin), urlsplit(f"//{host}")
        default = _DEFAULT_PORTS.get(theirs.scheme)
        ports = (theirs.port or default, ours.port or default)
    except ValueError:
        return False
    return bool(theirs.hostname) and theirs.hostname == ours.hostname and ports[0] == ports[1]
