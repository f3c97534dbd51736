"""The DICOMweb plugin's server definition of each account, and keeping it right.

Publishing replaces the whole definition, which is how the DICOMweb plugin works (``PUT`` below
``{Root}/servers``; the fields are those of ``DicomWeb.Servers``: Orthanc Book, "DICOMweb plugin"):
what a user wants in it comes from the configuration each time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from orthanc_gcp.clock import Clock
from orthanc_gcp.configuration import Account, Settings
from orthanc_gcp.errors import DefinitionError, GcpError
from orthanc_gcp.orthanc.versions import parse_version
from orthanc_gcp.redaction import readable
from orthanc_gcp.transport.authorization import Authorization, fits_a_header

__all__ = ["DicomWebPlugin", "Servers", "definition", "differs", "is_too_old"]

# A user property of the definition: it tells people who wrote it, and its absence tells us that
# somebody else did, even if everything else that Orthanc shows is the same.
MANAGED_BY = {"ManagedBy": "orthanc-gcp"}
OLDEST_DICOMWEB = (1,)

# Fields of a definition that Orthanc never shows.
_HIDDEN = frozenset(
    {
        "CertificateFile",
        "CertificateKeyFile",
        "CertificateKeyPassword",
        "HttpHeaders",
        "Password",
        "Pkcs11",
        "Username",
    }
)

_log = logging.getLogger(__name__)


class DicomWebPlugin(Protocol):
    """The DICOMweb plugin of an Orthanc, in this process or over its REST API."""

    def version(self) -> str | None:
        """The plugin's version; None where it is not installed."""

    def shown(self) -> dict[str, dict[str, Any]] | None:
        """All servers as ``GET servers?expand`` shows them; None where the plugin is disabled."""

    def put(self, name: str, server: Mapping[str, Any]) -> None:
        """Write the whole definition of a server.

        Raises
        ------
        OrthancError, DefinitionError
            Orthanc cannot be asked; the plugin does not take it.
        """

    def delete(self, name: str) -> None:
        """Remove a server.

        Raises
        ------
        OrthancError, DefinitionError
            Orthanc cannot be asked; the plugin refuses.
        """


def definition(
    account: Account, settings: Settings, authorization: Authorization
) -> dict[str, Any]:
    """The server definition of an account: the original's three fields and the user's own.

    Raises
    ------
    DefinitionError
        The token would inject a header: Orthanc does not refuse a line break in a header's value.
    """
    if not fits_a_header(authorization.token):
        raise DefinitionError(
            "the access token has characters that no HTTP header may carry, it is not published"
        )
    headers = {**account.server.get("HttpHeaders", {}), **authorization.headers()}
    return {
        "HasDelete": "1",
        **account.server,
        **MANAGED_BY,
        "Url": settings.dicomweb_url(account),
        "HttpHeaders": headers,
    }


def differs(server: Mapping[str, Any], shown: Mapping[str, Any] | None) -> bool:
    """Whether what Orthanc shows cannot be the definition that was published.

    Fields that it shows beyond ours do not count: which ones depends on its version.
    """
    if shown is None:
        return True
    headers = shown.get("HttpHeaders")
    if not isinstance(headers, list) or set(headers) != set(server["HttpHeaders"]):
        return True
    there = _visible({"Timeout": 0, **shown})
    return any(there.get(key) != value for key, value in _visible({"Timeout": 0, **server}).items())


def _visible(server: Mapping[str, Any]) -> dict[str, str]:
    """What can be compared: the DICOMweb plugin shows a boolean as ``"0"`` or ``"1"``."""
    return {
        key: str(int(value) if isinstance(value, bool) else value)
        for key, value in server.items()
        if key not in _HIDDEN
    }


class Servers:
    """The definitions of all accounts, published as soon as Orthanc takes them."""

    def __init__(self, plugin: DicomWebPlugin, settings: Settings, clock: Clock) -> None:
        self._plugin = plugin
        self._settings = settings
        self._clock = clock
        self._wanted: dict[str, dict[str, Any]] = {}
        self._published: dict[str, datetime] = {}
        # Of what Orthanc did not take, why: it shows no token by which an older one would be known.
        self._behind: dict[str, str] = {}
        self._lock = threading.Lock()
        self._open = False

    def open(self) -> bool:
        """Orthanc has started: publish what there is; False if there is nobody to publish to."""
        version = self._plugin.version()
        if not _is_usable(version):
            return False
        if self._plugin.shown() is None:
            _log.error(
                'the DICOMweb plugin does not serve %s: set "Enable" to true in the "DicomWeb" '
                "section; no Google Cloud Platform account is usable until then",
                self._settings.servers_root,
            )
            return False
        with self._lock:
            self._open = True
            for name in self._wanted:
                self._put(name)
        return True

    def publish(self, account: Account, authorization: Authorization) -> None:
        """Take a new token into the account's definition.

        Raises
        ------
        DefinitionError
            No header can carry the token.
        """
        server = definition(account, self._settings, authorization)
        with self._lock:
            self._wanted[account.name] = server
            if self._open:
                self._put(account.name)

    def reconcile(self) -> None:
        """Restore every definition that somebody deleted or changed, or that was not taken before.

        Raises
        ------
        OrthancError
            Orthanc cannot be asked.
        DefinitionError
            The DICOMweb plugin does not show its servers.
        """
        with self._lock:
            if not self._open or not self._wanted:
                return
            shown = self._plugin.shown()
            if shown is None:
                raise DefinitionError("the DICOMweb plugin does not serve its servers")
            for name, server in self._wanted.items():
                is_changed = differs(server, shown.get(name))
                if is_changed and name in self._published:
                    _log.warning("account %s: its DICOMweb server was changed, restoring", name)
                    del self._published[name]
                if is_changed or name in self._behind:
                    self._put(name)

    @property
    def is_behind(self) -> bool:
        """Whether Orthanc did not take a definition, and may have one with an older token."""
        return bool(self._behind)

    def published_since(self, name: str) -> datetime | None:
        """Since when the definition has been in place; None while it, or its token, is not."""
        return None if name in self._behind else self._published.get(name)

    def close(self) -> None:
        """Publish no more; with servers in the database, take the tokens out of it."""
        with self._lock:
            if not self._open:
                return
            self._open = False
            if not self._settings.dicom_web.servers_in_database:
                return
            for name in self._published:
                try:
                    self._plugin.delete(name)
                except GcpError as error:
                    _log.error("account %s: its token stays in the database: %s", name, error)

    def _put(self, name: str) -> None:
        try:
            self._plugin.put(name, self._wanted[name])
        except GcpError as error:
            words = str(error)
            if self._behind.get(name) != words:
                _log.error("account %s: its DICOMweb server cannot be published: %s", name, words)
            self._behind[name] = words
            return
        was_behind = self._behind.pop(name, None) is not None
        if was_behind and name in self._published:
            _log.warning("account %s: its DICOMweb server has the newest token again", name)
        if name not in self._published:
            self._published[name] = self._clock.utc()
            url = self._wanted[name]["Url"]
            _log.warning("account %s: published as DICOMweb server, %s", name, url)


def _is_usable(version: str | None) -> bool:
    install = "install orthanc-dicomweb 1.0 or newer and name its library in Plugins"
    if version is None:
        _log.error("the DICOMweb plugin is not installed: %s", install)
        return False
    if is_too_old(version):
        _log.error("the DICOMweb plugin %s is too old: %s", readable(version), install)
        return False
    return True


def is_too_old(version: str) -> bool:
    """Whether a DICOMweb plugin cannot serve: the original, too, wants 1.0.

    One that reports no version is used.
    """
    numbers = parse_version(version)
    return numbers is not None and numbers < OLDEST_DICOMWEB
