"""The command ``orthanc-gcp emulator``."""

from __future__ import annotations

import errno
import gc
import json
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import click

__all__ = ["emulator"]

SAMPLE_STORE = "projects/osimis-test/locations/europe-west2/datasets/test/dicomStores/dicom"
_COLLECT_AFTER = 20_000
"""How many new objects make the garbage collector run."""

_FILES = 65_536
_NETWORKS = ("google",)
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_EXPOSED = (
    "Warning: it listens at {host}: whoever reaches this machine there gets tokens from it, and "
    "reads, changes and deletes what is stored. No images of patients belong into it."
)
_SETTING_OPTIONS = "--fault-settings, --fault or --network"
_PORT = click.IntRange(min=0, max=65535)
_DIRECTORY = click.Path(path_type=Path, file_okay=False)


def _default_directory() -> Path:
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "orthanc-gcp" / "emulator"


@click.command(context_settings={"show_default": True})
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", help="The address to listen on.")
@click.option("--port", type=_PORT, default=8085, metavar="PORT", help="The port; 0 picks one.")
@click.option(
    "--directory",
    type=_DIRECTORY,
    help="Where instances, identities and certificates are kept; made when missing.",
    show_default="orthanc-gcp/emulator in $XDG_DATA_HOME or ~/.local/share",
)
@click.option(
    "--store",
    "stores",
    multiple=True,
    metavar="NAME",
    help="A DICOM store to create, by its full name; may be repeated.",
    show_default="that of the sample configuration",
)
@click.option(
    "--seed",
    "seeds",
    multiple=True,
    metavar="[NAME=]FOLDER",
    help="DICOM files to store at the start, in the first store or in one by name; "
    "may be repeated.",
)
@click.option(
    "--write-credentials",
    type=_DIRECTORY,
    help="Write credential files of every kind there.",
)
@click.option("--tls", is_flag=True, help="Serve HTTPS, under the CA in ca.pem of the directory.")
@click.option(
    "--tls-name",
    "tls_names",
    multiple=True,
    metavar="HOST",
    help="A further host name that the certificate of --tls is valid for, or google for those "
    "of Google's services; may be repeated.",
)
@click.option(
    "--allow-host",
    "allowed_hosts",
    multiple=True,
    metavar="HOST",
    help="A further name by which it may be asked, or google for those of Google's services; "
    "may be repeated.",
)
@click.option(
    "--token-lifetime",
    type=click.IntRange(min=1),
    default=3600,
    metavar="SECONDS",
    help="How many seconds an access token lives.",
)
@click.option(
    "--metadata-port",
    type=_PORT,
    metavar="PORT",
    help="A port of plain HTTP for the metadata server; 0 picks one.",
    show_default="the port itself, without --tls",
)
@click.option(
    "--admin",
    is_flag=True,
    help="Let anybody see what is stored at /, and break things on demand.",
)
@click.option(
    "--fault-settings",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A JSON object of fault settings to start with: failures on demand.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="JSON",
    help="A fault rule, added to those of --fault-settings; may be repeated.",
)
@click.option(
    "--network",
    metavar="google|FILE",
    help="A network profile: how fast the store is, and its quota; google, or a JSON object.",
)
@click.option(
    "--buckets",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder that stands for gs://, for imports and exports.",
)
def emulator(
    host: str,
    port: int,
    directory: Path | None,
    stores: tuple[str, ...],
    seeds: tuple[str, ...],
    write_credentials: Path | None,
    tls: bool,
    tls_names: tuple[str, ...],
    allowed_hosts: tuple[str, ...],
    token_lifetime: int,
    metadata_port: int | None,
    admin: bool,
    fault_settings: Path | None,
    faults: tuple[str, ...],
    network: str | None,
    buckets: Path | None,
) -> None:
    """Run a stand-in for Google: its token endpoints and DICOM stores of the Healthcare API.

    It says in one line where it is ready, and runs until Ctrl-C. Without --store there is one
    DICOM store, that of the sample configuration of Orthanc's Google plugin.

    \b
    For curl, a token is at /emulator/token:
      STORE=http://127.0.0.1:8085/v1/projects/osimis-test/locations/europe-west2
      STORE=$STORE/datasets/test/dicomStores/dicom/dicomWeb
      TOKEN="Authorization: Bearer $(curl -s http://127.0.0.1:8085/emulator/token)"
      curl -H "$TOKEN" -H "Content-Type: application/dicom" --data-binary @image.dcm $STORE/studies
      curl -H "$TOKEN" $STORE/studies

    \b
    For programs that read Google's credential files:
      orthanc-gcp emulator --write-credentials credentials

    \b
    For a test of its own, on a free port:
      orthanc-gcp emulator --port 0 --directory "$(mktemp -d)"

    \b
    For a DICOM store of another name:
      orthanc-gcp emulator --store projects/P/locations/L/datasets/D/dicomStores/S

    \b
    At about the pace of Google, with its refusals when there is too much:
      orthanc-gcp emulator --network google

    \b
    To see what is stored and asked in a browser, and to break things on demand:
      orthanc-gcp emulator --admin
    """
    try:
        from orthanc_gcp.emulator.auth.certificates import HostNameError
        from orthanc_gcp.emulator.faults.fault_settings import SettingError
        from orthanc_gcp.emulator.log import log_to_stderr
        from orthanc_gcp.emulator.resource_names import StoreName
        from orthanc_gcp.emulator.server import Emulator, Options, Seed
        from orthanc_gcp.emulator.storage.storage import DirectoryInUseError
    except ImportError as error:
        click.echo(
            f"the emulator needs {error.name}, which is not installed: "
            f"{sys.executable} -m pip install 'orthanc-gcp[emulator]'",
            err=True,
        )
        raise click.exceptions.Exit(2) from None
    try:
        names = tuple(StoreName.parse(name) for name in stores or [SAMPLE_STORE])
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--store") from error
    options = Options(
        directory=directory or _default_directory(),
        host=host,
        port=port,
        stores=names,
        seed=tuple(map(Seed.parse, seeds)),
        write_credentials=write_credentials,
        tls=tls or bool(tls_names),
        tls_names=tls_names,
        allowed_hosts=allowed_hosts,
        token_lifetime=token_lifetime,
        metadata_port=metadata_port,
        admin=admin,
        fault_settings=_fault_settings(fault_settings, faults),
        network=None if network is None else _network(network),
        buckets=buckets,
    )
    log_to_stderr()
    _allow_many_files()
    try:
        running = Emulator(options, report=partial(click.echo, err=True))
    except SettingError as error:
        raise click.BadParameter(str(error), param_hint=_SETTING_OPTIONS) from error
    except HostNameError as error:
        raise click.BadParameter(str(error), param_hint="--tls-name or --allow-host") from error
    except (DirectoryInUseError, OSError) as error:
        click.echo(f"The emulator cannot start: {_reason(error)}", err=True)
        raise click.exceptions.Exit(1) from error
    apart = running.metadata_host if metadata_port is not None else None
    if host not in _LOOPBACK:
        click.echo(_EXPOSED.format(host=host), err=True)
    # What pydicom warns of holds values of images.
    warnings.simplefilter("ignore", UserWarning)
    _collect_rarely()
    running.run(lambda: click.echo(_ready_line(running.url, running.token_uri, apart)))


def _collect_rarely() -> None:
    """Look for cycles of garbage among what is new, and not for every few requests.

    What modules have made stays: to go through it took a tenth of the time of small requests.
    """
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)


def _allow_many_files() -> None:
    """Open as many files as may be: each connection is one, before TLS has begun, too."""
    try:
        import resource
    except ImportError:  # Windows
        return
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(now, min(most, _FILES)), most))


def _reason(error: Exception) -> str:
    """What is wrong, and which option to change."""
    if not isinstance(error, OSError):
        return f"{error}; choose another --directory"
    if error.errno == errno.EADDRINUSE:
        return f"{error.strerror}; choose another --port, or 0 for a free one"
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)


def _fault_settings(path: Path | None, faults: Sequence[str]) -> dict[str, Any]:
    """Return the fault settings of a file, with more rules."""
    settings = {} if path is None else _json_object(path.read_bytes(), "--fault-settings")
    if faults:
        rules = [_json_object(fault, "--fault") for fault in faults]
        given = settings.get("faults", [])
        settings["faults"] = [*given, *rules] if isinstance(given, list) else given
    return settings


def _network(value: str) -> str | dict[str, Any]:
    """Return a network profile: its name, or what a file says."""
    if value in _NETWORKS:
        return value
    try:
        text = Path(value).read_bytes()
    except (OSError, ValueError):
        raise click.BadParameter(
            f"{value!r} is neither {' nor '.join(_NETWORKS)} nor a file that can be read",
            param_hint="--network",
        ) from None
    return _json_object(text, "--network")


def _json_object(text: str | bytes, option: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise click.BadParameter("a JSON object is expected", param_hint=option)
    return found


def _ready_line(url: str, token_uri: str, metadata_host: str | None) -> str:
    metadata = f", metadata server {metadata_host}" if metadata_host else ""
    return f"orthanc-gcp emulator is ready at {url} (token endpoint {token_uri}{metadata})"
