"""The remedy of a fault of the network, by its name and by the option that names the address."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from orthanc_gcp.doctor.address_options import is_google
from orthanc_gcp.doctor.examination import Examination
from orthanc_gcp.doctor.remedy_templates import LOGIN, SET_CLOCK, WAIT
from orthanc_gcp.errors import NetworkError
from orthanc_gcp.reasons import NetworkFault
from orthanc_gcp.transport.connections import Proxy, excepted

__all__ = ["is_metadata_server", "of_network"]

_SYSTEM_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


def of_network(error: NetworkError, examination: Examination) -> str:
    """The remedy, with placeholders."""
    if error.fault in _PROXY:
        proxy = examination.transport.proxy_of(error.url)
        return _of_proxy(error, proxy) if proxy else WAIT
    if is_metadata_server(error.url):
        return f"this machine is not on Google Cloud: {LOGIN}, or use CredentialsFile"
    remedy = _NETWORK[error.fault]
    return remedy if isinstance(remedy, str) else remedy(error, examination)


def is_metadata_server(url: str) -> bool:
    """Whether an address is that of the platform's metadata server."""
    return "/computeMetadata/" in url or urlsplit(url).hostname in (
        "metadata.google.internal",
        "169.254.169.254",
    )


def _correct(error: NetworkError, examination: Examination) -> str:
    """The option to correct; where it already has Google's address, or there is none, empty."""
    option = examination.option_of(error.url)
    if option is None or is_google(error.url):
        return ""
    return f"correct the host in {option.name}{option.hint}"


def _one_name(error: NetworkError, examination: Examination) -> str:
    option = examination.option_of(error.url)
    host = urlsplit(error.url).hostname or ""
    if option is not None and host != urlsplit(option.google_url).hostname:
        return f"correct the host name in {option.name}{option.hint}"
    return (
        f"have the name server that /etc/resolv.conf names resolve {host}, or let HttpProxy name "
        "a proxy, which resolves it itself"
    )


def _no_name(error: NetworkError, examination: Examination) -> str:
    correct = _correct(error, examination)
    return (
        "correct the name server in /etc/resolv.conf, or let HttpProxy name a proxy, which "
        "resolves names itself" + (f"; if this machine needs no DNS, {correct}" if correct else "")
    ) + _excepted_from_proxy(error, examination)


def _no_connection(error: NetworkError, examination: Examination) -> str:
    correct, host = _correct(error, examination), urlsplit(error.url).netloc
    if "is unreachable" in str(error) or "No route to host" in str(error):
        return f"give this machine a way to {host} (ip route get), or let HttpProxy name a proxy"
    if correct:
        remedy = f"{correct}, start what is to answer there, or open the firewall to {host}"
    else:
        remedy = "open the firewall for HTTPS to *.googleapis.com, or let HttpProxy name a proxy"
    return remedy + _excepted_from_proxy(error, examination)


def _timeout(error: NetworkError, examination: Examination) -> str:
    correct = _correct(error, examination)
    return (
        "see what holds up the connection (firewall, proxy), or raise Timeout"
        + (f"; if it is not the right one, {correct}" if correct else "")
        + _excepted_from_proxy(error, examination)
    )


def _excepted_from_proxy(error: NetworkError, examination: Examination) -> str:
    """What else to do where there is a proxy, but the environment says that not for this host."""
    configured = examination.settings.orthanc.http_proxy
    variable = excepted(error.url, configured)
    if not variable:
        return ""
    host = urlsplit(error.url).hostname
    if configured:
        there = f"HttpProxy names a proxy, but {variable} in the environment"
    else:
        there = f"there is a proxy in the environment, but {variable}"
    return f"; {there} keeps {host} from it: take what stands for {host} out of {variable}"


def _speaks_https(error: NetworkError, examination: Examination) -> str:
    option = examination.option_of(error.url)
    return f"write https:// instead of http:// in {option.name if option else 'the address'}"


def _speaks_http(error: NetworkError, examination: Examination) -> str:
    option = examination.option_of(error.url)
    if option is not None and examination.target(error.url).port != 443 and is_google(error.url):
        return f"take the port out of {option.name}{option.hint}"
    if option is None or is_google(error.url):
        return (
            "something answers in the place of Google: log in to the network, or let HttpProxy "
            "name the way out"
        )
    return f"write http:// instead of https:// in {option.name}, or let the server speak https"


def _authorities(error: NetworkError, _: Examination) -> str:
    if "Permission denied" in str(error):
        return "let the user {user} read the file that HttpsCACertificates names"
    if "the file is DER" in str(error):
        return (
            "convert the file that HttpsCACertificates names: openssl x509 -inform DER -in FILE "
            "-out FILE.pem"
        )
    return (
        f"let HttpsCACertificates name a PEM file that can be read, on Debian {_SYSTEM_AUTHORITIES}"
    )


def _authority(_: NetworkError, examination: Examination) -> str:
    file = examination.settings.ca_certificates
    if file is None:
        return (
            "if that authority is right, put it into a file with the others: cat "
            f"{_SYSTEM_AUTHORITIES} AUTHORITY.pem > FILE, and let HttpsCACertificates name FILE"
        )
    if str(file) == _SYSTEM_AUTHORITIES:
        return (
            "if that authority is right, add it to those of the system: cp AUTHORITY.pem "
            "/usr/local/share/ca-certificates/AUTHORITY.crt && update-ca-certificates "
            "(HttpsCACertificates names the file that this writes)"
        )
    return (
        f"if that authority is right, add its certificate to {file} (HttpsCACertificates): "
        f"cat AUTHORITY.pem >> {file}; if it is one that everybody knows, let "
        f"HttpsCACertificates name {_SYSTEM_AUTHORITIES}"
    )


def _name_of_certificate(error: NetworkError, examination: Examination) -> str:
    host = urlsplit(error.url).hostname or ""
    correct = _correct(error, examination)
    if correct:
        return f"{correct}, to a name that the certificate has"
    return (
        f"something answers in the place of {host}: see what it resolves to (getent hosts {host}; "
        "/etc/hosts, DNS), and what is on the way"
    )


_BREAK_OFF = "see what breaks the connection (proxy, firewall); the connector tries again"
_NETWORK: dict[NetworkFault, str | Callable[[NetworkError, Examination], str]] = {
    NetworkFault.ADDRESS: "correct the address in the credential file (token_uri, token_url), or "
    "{again}",
    NetworkFault.DNS: _no_name,
    NetworkFault.DNS_ONE: _one_name,
    NetworkFault.CONNECTION: _no_connection,
    NetworkFault.TIMEOUT: _timeout,
    NetworkFault.TIMEOUT_CONNECT: _no_connection,
    NetworkFault.TRUNCATED: _BREAK_OFF,
    NetworkFault.PROTOCOL: _BREAK_OFF,
    NetworkFault.ENCRYPTED: _speaks_https,
    NetworkFault.TLS_PLAIN: _speaks_http,
    NetworkFault.TLS_AUTHORITY: _authority,
    NetworkFault.TLS_NAME: _name_of_certificate,
    NetworkFault.TLS_EXPIRED: "have the server's certificate renewed; if it is right, correct this "
    "machine's clock: timedatectl set-ntp true",
    NetworkFault.TLS_EARLY: SET_CLOCK,
    NetworkFault.TLS: "see what ends TLS on the way (a firewall that reads along, a server that "
    "only speaks old TLS): at least TLS 1.2 is needed",
    NetworkFault.CA_CERTIFICATES: _authorities,
}


def _of_proxy(error: NetworkError, proxy: Proxy) -> str:
    """The remedy of a proxy: where it is configured, and how it should be written there."""
    if proxy.option == "HttpProxy":
        correct = "correct HttpProxy in Orthanc's configuration"
    else:
        correct = (
            f"correct {proxy.option} in the environment of Orthanc (systemctl edit orthanc), or "
            "let HttpProxy in Orthanc's configuration name the proxy"
        )
    host = urlsplit(error.url).hostname or ""
    return (
        _PROXY[error.fault]
        .replace("{correct}", correct)
        .replace("{host}", host)
        .replace("{direct}", _direct(proxy, host))
    )


_NO_PROXY_THERE = "{correct}: HOST:PORT; or start the proxy, or open the firewall to it"
_PROXY = {
    NetworkFault.PROXY_ADDRESS: "{correct}: HOST:PORT or http://HOST:PORT (SOCKS is not spoken)",
    NetworkFault.PROXY_AUTHENTICATION: "{correct}: http://USER:PASSWORD@HOST:PORT, with special "
    "characters as %40 and the like",
    NetworkFault.PROXY_CONNECTION: _NO_PROXY_THERE,
    NetworkFault.PROXY_DNS: "{correct}: another host name or its address; or correct the name "
    "server in /etc/resolv.conf",
    NetworkFault.PROXY_DNS_ONE: "{correct}: its host name is wrong",
    NetworkFault.PROXY_ENCRYPTED: "{correct}: https:// before HOST:PORT",
    NetworkFault.PROXY_PLAIN: "{correct}: http:// instead of https://",
    NetworkFault.PROXY_PROTOCOL: _NO_PROXY_THERE,
    NetworkFault.PROXY_REFUSED: "have the proxy let {host} through, or {correct}{direct}",
    NetworkFault.PROXY_SILENT: _NO_PROXY_THERE,
    NetworkFault.PROXY_TIMEOUT: _NO_PROXY_THERE,
    NetworkFault.PROXY_TLS: "add the authority that signed the proxy's certificate to the file "
    "that HttpsCACertificates names, or {correct}",
}


def _direct(proxy: Proxy, host: str) -> str:
    where = "in the environment of Orthanc" if proxy.option == "HttpProxy" else "there"
    return f"; if it can be reached without a proxy, add {host} to no_proxy {where}"
