"""The names by which the emulator may be asked, so that a page in a browser cannot reach it.

A page of another origin is read no answers of the emulator's own routes by the browser (see
:mod:`orthanc_gcp.emulator.http.cors`), unless the name of its origin is made to lead to the
emulator: DNS rebinding. That name then stands in ``Host`` (RFC 9110 section 7.2). Who sends no
``Host`` is no browser.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from starlette.requests import Request

from orthanc_gcp.emulator.http.responses import Refusal, text_error

__all__ = ["WILDCARDS", "AllowedHosts"]

WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - to know them # nosec B104
"""All addresses of the machine, as an address to listen on."""

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_HOST = re.compile(r"(\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[^][:\s]*))(:\d*)?")


class AllowedHosts:
    """The loopback names, the address to listen on, and more.

    Parameters
    ----------
    listens_on : str
        Where it listens. At all addresses, it may be asked by any address, for none of them is a
        name that somebody else lets lead there.
    more : iterable of str
        Names in lower case, without a port; ``*.`` at the beginning stands for any one label.
    """

    def __init__(self, listens_on: str, more: Iterable[str] = ()) -> None:
        self._names = frozenset({*_LOOPBACK, listens_on.lower(), *more})
        self._any_address = listens_on in WILDCARDS

    def require(self, request: Request) -> None:
        """Let a request pass that asks by an allowed name.

        Raises
        ------
        Refusal
            421 (RFC 9110 section 15.5.20).
        """
        for host in request.headers.getlist("host"):
            if not self._allows(_without_port(host.strip().lower()), request):
                raise Refusal(
                    text_error(
                        421,
                        "The emulator is not to be asked by this name: a page in a browser could "
                        "have made it lead here. If it is one of yours, start the emulator with "
                        "--allow-host and the name.\n",
                    )
                )

    def _allows(self, name: str, request: Request) -> bool:
        if not name or name in self._names or name == request.scope["server"][0]:
            return True
        _, _, parent = name.partition(".")
        if f"*.{parent}" in self._names or name.endswith(".localhost"):
            return True
        return self._any_address and _is_address(name)


def _without_port(host: str) -> str:
    """Return name or address; what is neither stays as it is, and is no allowed name."""
    found = _HOST.fullmatch(host)
    return host if found is None else found["address"] or found["name"] or ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
