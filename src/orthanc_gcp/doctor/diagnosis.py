"""A closer look at what went wrong below HTTP: the cause behind the words of the library."""

from __future__ import annotations

from urllib.parse import urlsplit

from orthanc_gcp.doctor import network
from orthanc_gcp.doctor.circumstances import Circumstances
from orthanc_gcp.doctor.network import Way
from orthanc_gcp.doctor.places import GOOGLE
from orthanc_gcp.errors import GcpError, TokenError
from orthanc_gcp.transport.connections import Proxy

__all__ = ["closer"]


def closer(error: GcpError, about: Circumstances) -> GcpError:
    """The same error, with a truer fault and words where a look at the network tells more."""
    if not isinstance(error, TokenError) or not error.url:
        return error
    way = about.way(error.url)
    found = None
    if error.fault in ("dns", "proxy_dns"):
        found = _name(error, way, about)
    elif error.fault in ("proxy_tls", "proxy_protocol", "proxy_timeout") and way.proxy:
        found = _proxy_scheme(way.proxy, way.patience)
    elif error.fault in ("protocol", "timeout", "truncated") or error.reason == "tls":
        found = _tunnel(way) or _scheme(way) or _certificate(error, way)
    elif error.fault == "http_400":  # what some servers of https answer to http
        found = _scheme(way)
    if found is None:
        return error
    return TokenError(found[1], fault=found[0], url=error.url)


def _name(error: TokenError, way: Way, about: Circumstances) -> tuple[str, str]:
    """Whether one name is wrong, or none can be resolved."""
    proxy = way.proxy if error.fault == "proxy_dns" else None
    host = (proxy.parts.hostname or "") if proxy else way.host
    others = {urlsplit(place.url).hostname or "" for place in about.places()}
    known = network.resolved({*others, *GOOGLE} - {host})
    words = f"the host name {host} cannot be resolved"
    if proxy:
        words += f", it is that of {proxy}"
    if known:
        return f"{error.fault}_one", f"{words}, while others are, such as {known}"
    servers = network.name_servers()
    named = f"name server {', '.join(servers)}" if servers else "no name server"
    return error.fault, f"{words}, nor is any other; /etc/resolv.conf names {named}"


def _tunnel(way: Way) -> tuple[str, str] | None:
    """Whether a proxy opens no way at all, although it can be connected to."""
    proxy = way.proxy
    if proxy is None or way.parts.scheme != "https":
        return None
    found = _proxy_scheme(proxy, way.patience)
    if found is None and proxy.parts.scheme != "https" and not network.tunnels(way):
        words = f"{proxy} does not answer as an HTTP proxy, it opens no way to {way.host}"
        return "proxy_silent", words
    return found


def _proxy_scheme(proxy: Proxy, patience: float) -> tuple[str, str] | None:
    own = Way(f"http://{proxy.parts.hostname}:{proxy.port}/", patience=patience)
    encrypted = network.speaks_tls(own)
    if proxy.parts.scheme == "https" and not encrypted and network.speaks_http(own):
        return "proxy_plain", f"{proxy} speaks http, not https"
    if proxy.parts.scheme != "https" and encrypted:
        return "proxy_encrypted", f"{proxy} speaks https, not http"
    return None


def _scheme(way: Way) -> tuple[str, str] | None:
    """Servers of https may answer to http too, if only to refuse it."""
    encrypted = network.speaks_tls(way)
    if way.parts.scheme == "https" and not encrypted and network.speaks_http(way):
        return "tls_plain", f"{way.host} speaks http on port {way.port}, not https"
    if way.parts.scheme == "http" and encrypted:
        return "encrypted", f"{way.host} speaks https on port {way.port}, not http"
    return None


def _certificate(error: TokenError, way: Way) -> tuple[str, str] | None:
    certificate = network.certificate_of(way) if error.reason == "tls" else None
    if certificate is None:
        return None
    return error.fault, f"{error}; {network.in_words(certificate, error.fault, way.host)}"
