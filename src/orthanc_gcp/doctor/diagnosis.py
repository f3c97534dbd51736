"""The diagnosis of an error below HTTP: the cause behind the message of a library."""

from __future__ import annotations

from urllib.parse import urlsplit

from orthanc_gcp.doctor import network
from orthanc_gcp.doctor.address_options import GOOGLE
from orthanc_gcp.doctor.examination import Examination
from orthanc_gcp.doctor.network import Target
from orthanc_gcp.errors import GcpError, NetworkError, TokenError
from orthanc_gcp.reasons import NetworkFault, of_status
from orthanc_gcp.transport.connections import Proxy

__all__ = ["diagnose"]


def diagnose(error: GcpError, examination: Examination) -> GcpError:
    """The same error, with a more exact fault and message where the network shows one.

    Parameters
    ----------
    error
        What the transport raised; what has no address is returned as it is.
    """
    if not isinstance(error, NetworkError | TokenError) or not error.url:
        return error
    target = examination.target(error.url)
    found = None
    if isinstance(error, NetworkError):
        found = _below_http(error, target, examination)
    elif error.reason == of_status(400):  # what some servers of https answer to http
        found = _scheme(target)
    if found is None:
        return error
    return NetworkError(found[1], fault=found[0], url=error.url)


_Diagnosis = tuple[NetworkFault, str]


def _below_http(error: NetworkError, target: Target, examination: Examination) -> _Diagnosis | None:
    if error.fault in (NetworkFault.DNS, NetworkFault.PROXY_DNS):
        return _name(error, target, examination)
    if error.fault in _OF_PROXY and target.proxy:
        return _proxy_scheme(target.proxy, target.timeout)
    if error.fault in _BROKEN_OFF or error.reason == NetworkFault.TLS:
        return _tunnel(target) or _scheme(target) or _certificate(error, target)
    return None


_OF_PROXY = (NetworkFault.PROXY_TLS, NetworkFault.PROXY_PROTOCOL, NetworkFault.PROXY_TIMEOUT)
_BROKEN_OFF = (NetworkFault.PROTOCOL, NetworkFault.TIMEOUT, NetworkFault.TRUNCATED)


def _name(error: NetworkError, target: Target, examination: Examination) -> _Diagnosis:
    """Whether one name is wrong, or none can be resolved."""
    of_proxy = error.fault is NetworkFault.PROXY_DNS
    proxy = target.proxy if of_proxy else None
    host = (proxy.parts.hostname or "") if proxy else target.host
    others = {urlsplit(option.url).hostname or "" for option in examination.address_options()}
    known = network.resolved({*others, *GOOGLE} - {host})
    text = f"the host name {host} cannot be resolved"
    if proxy:
        text += f", it is that of {proxy}"
    if known:
        fault = NetworkFault.PROXY_DNS_ONE if of_proxy else NetworkFault.DNS_ONE
        return fault, f"{text}, while others are, such as {known}"
    servers = network.name_servers()
    named = f"name server {', '.join(servers)}" if servers else "no name server"
    return error.fault, f"{text}, nor is any other; /etc/resolv.conf names {named}"


def _tunnel(target: Target) -> _Diagnosis | None:
    """Whether a proxy opens no way at all, although it can be connected to."""
    proxy = target.proxy
    if proxy is None or target.parts.scheme != "https":
        return None
    found = _proxy_scheme(proxy, target.timeout)
    if found is None and proxy.parts.scheme != "https" and not network.tunnels(target):
        text = f"{proxy} does not answer as an HTTP proxy, it opens no way to {target.host}"
        return NetworkFault.PROXY_SILENT, text
    return found


def _proxy_scheme(proxy: Proxy, timeout: float) -> _Diagnosis | None:
    own = Target(f"http://{proxy.parts.hostname}:{proxy.port}/", timeout=timeout)
    encrypted = network.speaks_tls(own)
    if proxy.parts.scheme == "https" and not encrypted and network.speaks_http(own):
        return NetworkFault.PROXY_PLAIN, f"{proxy} speaks http, not https"
    if proxy.parts.scheme != "https" and encrypted:
        return NetworkFault.PROXY_ENCRYPTED, f"{proxy} speaks https, not http"
    return None


def _scheme(target: Target) -> _Diagnosis | None:
    """Servers of https may answer to http too, if only to refuse it."""
    encrypted = network.speaks_tls(target)
    if target.parts.scheme == "https" and not encrypted and network.speaks_http(target):
        return NetworkFault.TLS_PLAIN, f"{target.host} speaks http on port {target.port}, not https"
    if target.parts.scheme == "http" and encrypted:
        return NetworkFault.ENCRYPTED, f"{target.host} speaks https on port {target.port}, not http"
    return None


def _certificate(error: NetworkError, target: Target) -> _Diagnosis | None:
    certificate = network.certificate_of(target) if error.reason == NetworkFault.TLS else None
    if certificate is None:
        return None
    return (
        error.fault,
        f"{error}; {network.describe_certificate(certificate, error.fault, target.host)}",
    )
