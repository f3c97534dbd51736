"""The group *Orthanc*: whether Orthanc, as it is installed, will load and serve the accounts."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orthanc_gcp.configuration import Settings
from orthanc_gcp.connector.servers import is_too_old
from orthanc_gcp.doctor.checks import (
    Check,
    CheckFailedError,
    NotApplicableError,
    UnknownError,
    WarningError,
    run_checks,
)
from orthanc_gcp.doctor.findings import Finding
from orthanc_gcp.doctor.script import Script, ScriptError, loaded_by
from orthanc_gcp.errors import GcpError, OrthancError, OrthancUnavailableError
from orthanc_gcp.orthanc.installation import (
    DEFAULT_EXECUTABLE,
    Service,
    embedded_python,
    library_named,
    plugin_libraries,
    version_of,
)
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.redaction import readable
from orthanc_gcp.users import is_root, user_name

__all__ = ["Site", "check_orthanc", "request"]

_TRY_WITHIN = 2.0
DEBIAN_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
_INSTALL = "apt-get install {package}, and name /usr/share/orthanc/plugins in Plugins"


@dataclass(frozen=True)
class Site:
    """An Orthanc as it is installed.

    Attributes
    ----------
    config : Path
        Its configuration, a file or a folder.
    service : Service or None
        Who runs it, where that is known.
    rest : OrthancRest or None
        Its REST API, where it runs.
    sidecar : bool
        Whether the sidecar serves it, in the place of a script.
    """

    config: Path
    settings: Settings
    service: Service | None = None
    rest: OrthancRest | None = None
    sidecar: bool = False

    @property
    def is_running(self) -> bool:
        """Whether this Orthanc is known to run just now."""
        return self.rest is not None or (self.service is not None and self.service.pid is not None)

    @property
    def executable(self) -> Path:
        """What is run as Orthanc."""
        return self.service.executable if self.service else DEFAULT_EXECUTABLE

    @property
    def libraries(self) -> list[Path]:
        """The libraries of plugins that it loads."""
        return plugin_libraries(self.settings.orthanc.plugins, self.settings.folder)

    @property
    def python(self) -> tuple[int, int] | None:
        """The Python that its Python plugin embeds."""
        library = library_named(self.libraries, "OrthancPython")
        return None if library is None else embedded_python(library)

    def script(self) -> Script:
        """The script that loads the connector.

        Raises
        ------
        ScriptError
            There is none, or it cannot.
        """
        return loaded_by(self.settings.python_script)


def check_orthanc(site: Site) -> Iterator[Finding]:
    """Check Orthanc as it is installed and, where it runs, what it answers; raises nothing."""
    yield from run_checks(_CHECKS, site, _remedy)


def _remedy(_error: GcpError) -> str:
    return "see Orthanc's log"


def _user(site: Site) -> str:
    """Permissions can only be checked as the user who needs them."""
    me = user_name()
    if site.service is None:
        if is_root():
            raise WarningError(
                f"no process and no service runs Orthanc with {site.config}: it was checked as "
                "root, who may read everything",
                "name the user who runs Orthanc: --user NAME",
            )
        return f"{me}, the user of this command: no process and no service names {site.config}"
    if site.service.user != me:
        raise UnknownError(
            f"Orthanc runs as {site.service.user} ({site.service.source}), this command as {me}",
            f"run it as root, or as {site.service.user}: sudo orthanc-gcp check {site.config}",
        )
    return f"{me} ({site.service.source})"


def _options(site: Site) -> str:
    wrong = [one for one in site.settings.problems if one.error and _is_general(one.path)]
    if wrong:
        remedy = "correct it in Orthanc's configuration, then restart Orthanc"
        raise CheckFailedError("; ".join(map(str, wrong)), remedy)
    return f"{site.config} is read as Orthanc reads it"


def _is_general(path: str) -> bool:
    """Whether no other line tells of an option."""
    own = ("Accounts.", "Send", "Backfill", "Database")
    return not path.startswith(tuple(f"GoogleCloudPlatform.{one}" for one in own))


def _dicomweb_plugin(site: Site) -> str:
    library = library_named(site.libraries, "OrthancDicomWeb")
    if library is None:
        raise CheckFailedError(
            f"Plugins ({_named(site)}) has no DICOMweb plugin: no store can be reached",
            _INSTALL.format(package="orthanc-dicomweb"),
        )
    if not site.settings.dicom_web.enable:
        raise CheckFailedError(
            f"{library} does nothing: DicomWeb.Enable is false",
            'set "Enable" to true in the "DicomWeb" section',
        )
    return str(library)


def _python_plugin(site: Site) -> str:
    if site.sidecar:
        raise NotApplicableError("the sidecar serves this Orthanc")
    library = library_named(site.libraries, "OrthancPython")
    if library is None:
        raise CheckFailedError(
            f"Plugins ({_named(site)}) has no Python plugin: nothing loads the connector",
            _INSTALL.format(package="orthanc-python") + "; or run the sidecar, and check --sidecar",
        )
    found = embedded_python(library)
    if found is None:
        raise UnknownError(f"{library}: no Python is found in it", "install orthanc-python again")
    return f"{library} embeds Python {found[0]}.{found[1]}"


def _named(site: Site) -> str:
    return ", ".join(site.settings.orthanc.plugins) or "empty"


def _script(site: Site) -> str:
    if site.sidecar:
        raise NotApplicableError("the sidecar serves this Orthanc")
    install = f"orthanc-gcp install --orthanc-config {site.config}"
    try:
        script = site.script()
    except ScriptError as error:
        raise CheckFailedError(str(error), error.remedy or install) from None
    if site.python is not None and site.python not in script.pythons:
        embedded = _dotted(site.python)
        raise CheckFailedError(
            f"{script.file} loads what is installed for Python "
            f"{', '.join(map(_dotted, script.pythons))}, and this Orthanc embeds Python {embedded}",
            f"install orthanc-gcp with python{embedded}, then: {install}",
        )
    for folder in script.packages:
        if os.access(folder / "orthanc_gcp" / "__init__.py", os.R_OK):
            return f"{script.file} loads {folder / 'orthanc_gcp'}"
    raise CheckFailedError(
        f"{script.file} loads the package from {script.packages[0]}, where there is none that "
        f"{user_name()} may read",
        f"install it where Orthanc's user may read it, such as /opt/orthanc-gcp, then: {install}",
    )


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _authorities(site: Site) -> str:
    """libcurl, which Orthanc uses, takes exactly this file; nothing stands in for it."""
    if not site.settings.section.base_url.lower().startswith("https:"):
        raise NotApplicableError("BaseUrl is not https://")
    if not site.settings.orthanc.https_verify_peers:
        raise WarningError(
            "HttpsVerifyPeers is false: anybody on the way can read images and access tokens",
            'set it to true, and "HttpsCACertificates" to ' + DEBIAN_AUTHORITIES,
        )
    remedy = f'set "HttpsCACertificates" to "{DEBIAN_AUTHORITIES}", then restart Orthanc'
    if site.settings.lacks_authorities(version_of(site.executable)):
        raise CheckFailedError(
            "HttpsCACertificates is empty or missing: every HTTPS transfer of the DICOMweb plugin "
            "fails, though tokens come",
            remedy,
        )
    file = site.settings.ca_certificates
    if file is None:
        return "those of the system, which this version of Orthanc takes"
    try:
        ssl.create_default_context(cafile=file)
    except OSError as error:  # ssl.SSLError is one
        reason = "it is a folder" if file.is_dir() else error.strerror or error
        raise CheckFailedError(
            f"{file} (HttpsCACertificates) cannot be used: {reason}", remedy
        ) from None
    return str(file)


def request(rest: OrthancRest | None, method: str, path: str, body: Any = None) -> Any:
    """What the Orthanc that runs answers; None for a path that does not exist.

    Raises
    ------
    NotApplicableError
        None runs.
    UnknownError
        It wants a user and password.
    OrthancError
        It does not answer, or refuses.
    """
    if rest is None:
        raise NotApplicableError("there is no running Orthanc that can be asked from here")
    try:
        return rest.call(method, path, body)
    except OrthancError as error:
        if error.status != 401:
            raise
        raise UnknownError(
            f"the Orthanc at {rest.url} wants a user and password",
            "name them in the variable ORTHANC_GCP_CHECK_ORTHANC: http://user:password@host:port/",
        ) from None


def _ports(site: Site) -> str:
    """Before Orthanc starts: another program at one of its ports keeps it from that."""
    options = site.settings.orthanc
    if site.service is None or site.service.user != user_name():
        raise NotApplicableError("who runs Orthanc is not known, or sees more than this user")
    if site.service.pid is not None:
        raise NotApplicableError("Orthanc runs")
    gateway = site.settings.gateway
    ports = {
        "HttpPort": options.http_port if options.http_server_enabled else 0,
        "DicomPort": options.dicom_port if options.dicom_server_enabled else 0,
        "Gateway.Port": gateway.port if gateway and gateway.start_with_orthanc else 0,
    }
    for option, port in ports.items():
        if port and _is_taken(port):
            what = "the gateway" if option == "Gateway.Port" else "Orthanc"
            raise CheckFailedError(
                f"another program listens at port {port} ({option}), so that {what} cannot start",
                f"end that program, which `ss -ltnp` names, or let {option} name another port",
            )
    return "nobody listens at " + " and ".join(f"{port}" for port in ports.values() if port)


def _is_taken(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), _TRY_WITHIN):
        return True
    return False


def _answers(site: Site) -> str:
    system = request(site.rest, "GET", "/system")
    url = site.rest.url if site.rest else ""
    if not isinstance(system, dict):
        raise OrthancUnavailableError(f"{url} is not an Orthanc")
    plugin = request(site.rest, "GET", "/plugins/dicom-web")
    if plugin is None:
        raise CheckFailedError(
            f"the Orthanc at {url} has not loaded the DICOMweb plugin",
            "restart Orthanc; if that does not help, its log says why",
        )
    version = readable(str(plugin.get("Version", "")))
    if is_too_old(version):
        raise CheckFailedError(
            f"the Orthanc at {url} has DICOMweb {version}, which is too old",
            "install orthanc-dicomweb 1.0 or newer",
        )
    return f"{url} is Orthanc {readable(str(system.get('Version')))}, DICOMweb {version}"


def _connector(site: Site) -> str:
    if site.sidecar:
        raise NotApplicableError("the sidecar serves this Orthanc")
    accounts = request(site.rest, "GET", "/gcp/accounts")
    if accounts is None:
        raise CheckFailedError(
            "the Orthanc that runs has not loaded the connector",
            "restart Orthanc; if that does not help, its log says why",
        )
    there = {account["Name"] for account in accounts}
    missing = [one.name for one in site.settings.accounts if one.name not in there]
    if missing:
        raise CheckFailedError(
            f"the Orthanc that runs does not know of {', '.join(missing)} yet",
            "restart Orthanc",
        )
    return f"it runs in Orthanc, with {', '.join(sorted(there)) or 'no account'}"


_CHECKS: tuple[Check[Site], ...] = (
    Check("user", _user),
    Check("options", _options),
    Check("DICOMweb plugin", _dicomweb_plugin),
    Check("Python plugin", _python_plugin),
    Check("script", _script),
    Check("HTTPS authorities", _authorities),
    Check("ports", _ports),
    Check("REST API", _answers),
    Check("connector", _connector),
)
