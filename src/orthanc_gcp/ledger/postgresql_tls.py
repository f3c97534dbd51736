"""How a PostgreSQL server has to prove who it is, before it is given a password and rows.

libpq by itself asks for TLS and goes on without it, and takes any certificate (PostgreSQL, "SSL
Support"). Here a server on another machine has to show one that its authorities vouch for, in its
name, unless the address of the database says otherwise.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sql

__all__ = ["weakness", "with_tls"]

VERIFIED = "verify-full"
_AUTHORITIES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, Red Hat
)


def with_tls(url: sql.URL, authorities: Path | None) -> sql.URL:
    """An address of a PostgreSQL database with what was left open about TLS.

    Parameters
    ----------
    authorities
        Those to trust where the address names none (``sslrootcert``), in PEM; else the machine's.
    """
    settled = {}
    if "sslmode" not in url.query and not _is_local(url):
        settled["sslmode"] = VERIFIED
    mode = url.query.get("sslmode", settled.get("sslmode"))
    if mode in (VERIFIED, "verify-ca") and "sslrootcert" not in url.query:
        settled["sslrootcert"] = str(authorities or _authorities_of_machine())
    return url.update_query_dict(settled)


def weakness(url: sql.URL) -> str | None:
    """What somebody between here and the database could do; None where nothing."""
    if url.get_backend_name() == "sqlite" or _is_local(url):
        return None
    mode = url.query.get("sslmode", VERIFIED)
    if mode == VERIFIED:
        return None
    if mode in ("require", "verify-ca"):
        return f"with sslmode={mode} another server can pass for it, and read password and rows"
    return f"with sslmode={mode} its password and rows can be read and changed on the way"


def _is_local(url: sql.URL) -> bool:
    """Whether an address leads to a socket of this machine, or to loopback, and nowhere else."""
    hosts = [host for host in _hosts(url) if not host.startswith(("/", "@"))]
    return "service" not in url.query and all(map(_is_loopback, hosts))


def _hosts(url: sql.URL) -> Iterator[str]:
    named = [url.host or "", *_values(url, "host")]
    found = [host for name in named for host in name.split(",") if host]
    yield from found or [host for host in os.environ.get("PGHOST", "").split(",") if host]
    if not found:
        yield from filter(None, ",".join(_values(url, "hostaddr")).split(","))


def _values(url: sql.URL, name: str) -> tuple[str, ...]:
    value = url.query.get(name, ())
    return (value,) if isinstance(value, str) else value


def _is_loopback(host: str) -> bool:
    name, _, port = host.rpartition(":")
    for one in (host, name if port.isdecimal() else ""):
        with suppress(ValueError):
            return ipaddress.ip_address(one.strip("[]")).is_loopback
    return (name or host).lower() == "localhost"


def _authorities_of_machine() -> str:
    """The file of authorities; libpq's own OpenSSL may look for it elsewhere."""
    found = ssl.get_default_verify_paths().cafile
    for file in (found, *_AUTHORITIES):
        if file and Path(file).is_file():
            return file
    return "system"
