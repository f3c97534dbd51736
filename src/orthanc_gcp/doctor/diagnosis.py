"""The diagnosis of an error below HTTP: the cause behind the message of a library."""

from __future__ import annotations

from urllib.parse import urlsplit

from orthanc_gcp.doctor import network
from orthanc_gcp.doctor.address_options import GOOGLE
from orthanc_gcp.doctor.examination import Examination
from orthanc_gcp.doctor.network import Target
from orthanc_gcp.errors import GcpError, TokenError
from orthanc_gcp.transport.connections import Proxy

__all__ = ["diagnose"]


def diagnose(error: GcpError, examination: Examination) -> GcpError:
    """The same error, with a more exact fault and message where the network shows one.

    Parameters
    ----------
    error
        What the transport raised; any but a TokenError with an address is returned as it is.
    """
    if not isinstance(error, TokenError) or not error.url:
        return error
    target = examination.target(error.url)
    found = None
    if error.fault in ("dns", "proxy_dns"):
        found = _name(error, target, examination)
    elif error.fault in ("proxy_tls", "proxy_protocol", "proxy_timeout") and target.proxy:
        found = _proxy_scheme(target.proxy, target.timeout)
    elif error.fault in ("protocol", "timeout", "truncated") or error.reason == "tls":
        found = _tunnel(target) or _scheme(target) or _certificate(error, target)
    elif error.fault == "http_400":  # what some servers of https answer to http
        found = _scheme(target)
    if found is None:
        return error
    return TokenError(found[1], fault=found[0], url=error.url)


def _name(error: TokenError, target: Target, examination: Examination) -> tuple[str, str]:
    """Whether one name is wrong, or none can be resolved."""
    proxy = target.proxy if error.fault == "proxy_dns" else None
    host = (proxy.parts.hostname or "") if proxy else target.host
    others = {urlsplit(option.url).hostname or "" for option in examination.address_options()}
    known = network.resolved({*others, *GOOGLE} - {host})
    text = f"the host name {host} cannot be resolved"
    if proxy:
        text += f", it is that of {proxy}"
    if known:
        return f"{error.fault}_one", f"{text}, while others are, such as {known}"
    servers = network.name_servers()
    named = f"name server {', '.join(servers)}" if servers else "no name server"
    return error.fault, f"{text}, nor is any other; /etc/resolv.conf names {named}"


def _tunnel(target: Target) -> tuple[str, str] | None:
    """Whether a proxy opens no way at all, although it can be connected to."""
    proxy = target.proxy
    if proxy is None or target.parts.scheme != "https":
        return None
    found = _proxy_scheme(proxy, target.timeout)
    if found is None and proxy.parts.scheme != "https" and not network.tunnels(target):
        text = f"{proxy} does not answer as an HTTP proxy, it opens no way to {target.host}"
        return "proxy_silent", text
    return found


def _proxy_scheme(proxy: Proxy, timeout: float) -> tuple[str, str] | None:
    own = Target(f"http://{proxy.parts.hostname}:{proxy.port}/", timeout=timeout)
    encrypted = network.speaks_tls(own)
    if proxy.parts.scheme == "https" and not encrypted and network.speaks_http(own):
        return "proxy_plain", f"{proxy} speaks http, not https"
    if proxy.parts.scheme != "https" and encrypted:
        return "proxy_encrypted", f"{proxy} speaks https, not http"
    return None


def _scheme(target: Target) -> tuple[str, str] | None:
    """Servers of https may answer to http too, if only to refuse it."""
    encrypted = network.speaks_tls(target)
    if target.parts.scheme == "https" and not encrypted and network.speaks_http(target):
        return "tls_plain", f"{target.host} speaks http on port {target.port}, not https"
    if target.parts.scheme == "http" and encrypted:
        return "encrypted", f"{target.host} speaks https on port {target.port}, not http"
    return None


def _certificate(error: TokenError, target: Target) -> tuple[str, str] | None:
    certificate = network.certificate_of(target) if error.reason == "tls" else None
    if certificate is None:
        return None
    return (
        error.fault,
        f"{error}; {network.describe_certificate(certificate, error.fault, target.host)}",
    )
