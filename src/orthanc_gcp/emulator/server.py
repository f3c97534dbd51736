"""Runs the emulator: in the foreground, or in a thread of a test."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from orthanc_gcp.emulator.admin.admin import Reset
from orthanc_gcp.emulator.admin.health import HealthCheck
from orthanc_gcp.emulator.application import Answering, Application, GceMetadataApplication
from orthanc_gcp.emulator.auth.access_tokens import TokenMint
from orthanc_gcp.emulator.auth.certificates import HostNameError, ensure_certificates, host_names
from orthanc_gcp.emulator.auth.credential_files import CredentialFiles
from orthanc_gcp.emulator.auth.emulator_tokens import AccessTokenEndpoint
from orthanc_gcp.emulator.auth.gce_metadata_server import GceMetadataServer
from orthanc_gcp.emulator.auth.iam_policies import IamPolicies
from orthanc_gcp.emulator.auth.identities import Identities
from orthanc_gcp.emulator.cloud_storage.buckets import Buckets
from orthanc_gcp.emulator.dicom.imaging_pool import ImagingPool
from orthanc_gcp.emulator.faults.fault_settings import FaultSettings
from orthanc_gcp.emulator.healthcare.operations import Operations
from orthanc_gcp.emulator.healthcare.request_context import Services
from orthanc_gcp.emulator.healthcare.service_agent import ServiceAgent
from orthanc_gcp.emulator.http.allowed_hosts import WILDCARDS, AllowedHosts
from orthanc_gcp.emulator.http.recent_requests import RecentRequests
from orthanc_gcp.emulator.http.request_gate import GatedApplication, RequestGate
from orthanc_gcp.emulator.http.uvicorn_server import UvicornServer, listen
from orthanc_gcp.emulator.operation_handlers import WORK
from orthanc_gcp.emulator.resource_names import StoreName
from orthanc_gcp.emulator.storage.seed import Report, Seed, store_seed
from orthanc_gcp.emulator.storage.storage import Storage

__all__ = ["DEFAULT_STORE", "Emulator", "Options", "Seed"]

logger = logging.getLogger(__name__)

DEFAULT_STORE = StoreName("osimis-test", "europe-west2", "test", "dicom")
"""The store of the sample configuration of Orthanc's original plugin."""

_START_WITHIN = 30.0
_END_WITHIN = 60.0
"""How many seconds threads and operations have to end before a reset."""


@dataclass(frozen=True)
class Options:
    """How an emulator is set up; the command's options by the same names.

    Attributes
    ----------
    directory : Path
        Where instances, identities and certificates are; made when missing.
    host, port : str, int
        Where it listens; port 0 is any free one.
    stores : tuple of StoreName
        DICOM stores to create; the project of the first one is that of the identities.
    seed : tuple of Seed or Path
        Folders whose DICOM files are stored at the start, by default in the first store.
    write_credentials : Path or None
        A folder for credential files of every kind.
    tls, tls_names : bool, tuple of str
        Whether it speaks HTTPS, and further host names of its certificate; ``google`` is all names
        of Google whose paths it answers.
    allowed_hosts : tuple of str
        Names by which it may be asked, besides the loopback ones, ``host`` and ``tls_names``;
        ``google`` as in ``tls_names``.
    token_lifetime : int
        How many seconds an access token lives.
    metadata_port : int or None
        A port of plain HTTP for the metadata server alone; 0 is any free one.
    admin : bool
        Whether the web page, ``/emulator/state`` and ``/emulator/reset`` are open to all.
    fault_settings : mapping
        Those to start with, by their names in JSON.
    network : str, mapping or None
        A network profile: its name, or its settings by their names in JSON.
    buckets : Path or None
        A folder that stands for ``gs://``.
    """

    directory: Path
    host: str = "127.0.0.1"
    port: int = 0
    stores: tuple[StoreName, ...] = (DEFAULT_STORE,)
    seed: tuple[Seed | Path, ...] = ()
    write_credentials: Path | None = None
    tls: bool = False
    tls_names: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    token_lifetime: int = 3600
    metadata_port: int | None = None
    admin: bool = False
    fault_settings: Mapping[str, Any] = field(default_factory=dict)
    network: str | Mapping[str, Any] | None = None
    buckets: Path | None = None


class Emulator:
    """An emulator, listening from its construction on, answering while it runs.

    As a context manager it runs in a thread of its own, until the block ends.

    Parameters
    ----------
    options : Options
        Where its data are, where it listens, what it offers.
    clock : callable
        Gives the time that tokens and assertions are judged by, in seconds since 1970.
    report : callable
        Takes lines about the seed: what is left out, how far it is, how it ended.

    Raises
    ------
    OSError
        It cannot listen at the address, cannot write in its directory, or cannot read a seed.
    DirectoryInUseError
        Another emulator is using the directory.
    HostNameError
        A name for the certificate, or to be asked by, is none.
    SettingError
        A fault setting to start with is none, or cannot be so; nor can a network profile.
    """

    def __init__(
        self,
        options: Options,
        clock: Callable[[], float] = time.time,
        report: Report = logger.info,
    ) -> None:
        self._options = options
        self._report = report
        self._true_clock = clock
        self.fault_settings = FaultSettings({"network": options.network, **options.fault_settings})
        self._storage = Storage(
            options.directory, lambda: self.fault_settings.current.search_lag, self._clock
        )
        self._imaging = ImagingPool()
        self._sockets: list[socket.socket] = []
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        try:
            self._open_sockets()
            self.identities = Identities(
                options.directory / "identities.json",
                options.stores[0].project,
                self.fault_settings,
            )
            self._make_stores()
            self._gate = RequestGate(exempt=(HealthCheck.PATH, Reset.PATH))
            self._entrances = [
                GatedApplication(self._gate, application) for application in self._applications()
            ]
            self._servers = self._make_servers()
            self._write_credentials()
        except BaseException:
            self._close()
            raise

    @property
    def url(self) -> str:
        """The root, to which ``/v1/…`` is added."""
        scheme = "https" if self._options.tls else "http"
        return f"{scheme}://{self._address(self._sockets[0])}"

    @property
    def token_uri(self) -> str:
        """The address of the token endpoint."""
        return f"{self.url}/token"

    @property
    def metadata_host(self) -> str | None:
        """What ``GCE_METADATA_HOST`` has to be, if there is a metadata server."""
        if self._options.metadata_port is None and self._options.tls:
            # Clients ask for metadata by plain HTTP only.
            return None
        return self._address(self._sockets[-1])

    @property
    def ca(self) -> Path:
        """The certification authority to trust, when it serves HTTPS."""
        return self._options.directory / "ca.pem"

    @property
    def credentials(self) -> Path | None:
        """The folder of the credential files, if they are written."""
        return self._options.write_credentials

    def access_token(self) -> str:
        """Return a new access token of the first service account."""
        return self._access_tokens.new()

    def dicomweb_url(self, store: StoreName = DEFAULT_STORE) -> str:
        """Return the address that DICOMweb clients of a store need."""
        return f"{self.url}/v1/{store}/dicomWeb"

    def create_store(self, store: StoreName) -> None:
        """Make a DICOM store, and its dataset, unless they are there."""
        dataset = store.parent
        self._storage.resources.create_dataset(dataset, {"name": str(dataset)})
        self._storage.resources.create_store(store, {"name": str(store)})

    def delete_store(self, store: StoreName) -> None:
        """Delete a DICOM store, if it is there, and what is in it."""
        self._storage.delete_store(store)

    def reset(self) -> None:
        """Bring everything back to what a start in an empty directory makes, with the same keys.

        Requests that are being answered are broken off, others wait until it is done. What was
        stored, made, set and revoked is gone; the seed is stored again. Access tokens stay good.
        Not to be called in the thread that serves.

        Raises
        ------
        OSError
            The directory cannot be written, a seed cannot be read any more, or something that
            goes on does not end within a minute, and nothing was changed.
        """
        if self._loop is None:
            self._begin_anew()
        else:
            asyncio.run_coroutine_threadsafe(self._reset(), self._loop).result()

    def run(self, ready: Callable[[], None]) -> None:
        """Serve until SIGINT or SIGTERM; call ``ready`` once requests are answered."""
        try:
            asyncio.run(self._serve(ready, signals=(signal.SIGINT, signal.SIGTERM)))
        finally:
            self._close()

    def stop(self) -> None:
        """Stop serving, from any thread."""
        for server in self._servers:
            server.should_exit = True

    def __enter__(self) -> Self:
        started = threading.Event()
        self._thread = threading.Thread(target=self._run_in_thread, args=(started.set,))
        self._thread.start()
        if not started.wait(_START_WITHIN):
            self.stop()
            raise RuntimeError("the emulator did not start")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        if self._thread is not None:
            self._thread.join()

    def _run_in_thread(self, ready: Callable[[], None]) -> None:
        try:
            asyncio.run(self._serve(ready, signals=()))
        finally:
            self._close()

    async def _serve(self, ready: Callable[[], None], signals: tuple[signal.Signals, ...]) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self._use_new_threads(loop)
        for number in signals:
            try:
                loop.add_signal_handler(number, self.stop)
            except NotImplementedError:  # Windows
                signal.signal(number, lambda *_: self.stop())
        waiting = len(self._servers)

        def started() -> None:
            nonlocal waiting
            waiting -= 1
            if not waiting:
                ready()

        serving = []
        for server, listener in zip(self._servers, self._sockets, strict=True):
            server.ready = started
            serving.append(server.serve([listener]))
        self.operations.resume()
        try:
            await asyncio.gather(*serving)
        finally:
            self._loop = None
            await self.operations.stop()

    async def _reset(self) -> None:
        async with self._gate.closed():
            try:
                async with asyncio.timeout(_END_WITHIN):
                    await self._finish_threads()
                    await self.operations.cancel_everything()
            except TimeoutError as error:
                raise TimeoutError(errno.ETIMEDOUT, "an operation does not end") from error
            await asyncio.to_thread(self._begin_anew)

    def _begin_anew(self) -> None:
        try:
            self.fault_settings.reset()
            self._storage.clear()
            self.identities.reset()
            self._make_stores()
            self._write_credentials()
        finally:
            # Applications and services remember the rest: all of them are made anew.
            for entrance, application in zip(self._entrances, self._applications(), strict=True):
                entrance.application = application

    def _make_stores(self) -> None:
        for store in self._options.stores:
            self.create_store(store)
        for seed in self._options.seed:
            self._store_seed(seed if isinstance(seed, Seed) else Seed(seed))
        if self._options.seed:
            # It has been there for as long as anybody can know.
            self._storage.search_lag.close()

    def _store_seed(self, seed: Seed) -> None:
        store = seed.store or self._options.stores[0]
        self.create_store(store)
        row = self._storage.resources.store_id(store)
        if row is not None:
            store_seed(self._storage, row, seed.folder, self._report)

    def _use_new_threads(self, loop: asyncio.AbstractEventLoop) -> None:
        self._threads = ThreadPoolExecutor(thread_name_prefix="request")
        loop.set_default_executor(self._threads)

    async def _finish_threads(self) -> None:
        """Return when the threads are done with what was asked of them, by whomever."""
        before = self._threads
        self._use_new_threads(asyncio.get_running_loop())
        await asyncio.to_thread(before.shutdown)

    def _write_credentials(self) -> None:
        if self._options.write_credentials is not None:
            files = CredentialFiles(self.identities, self.url, self._clock())
            files.write(self._options.write_credentials)

    def _clock(self) -> float:
        return self._true_clock() + self.fault_settings.current.clock_offset

    def _open_sockets(self) -> None:
        options = self._options
        self._sockets.append(listen(options.host, options.port))
        if options.metadata_port is not None:
            self._sockets.append(listen(options.host, options.metadata_port))

    def _close(self) -> None:
        for listener in self._sockets:
            listener.close()
        self._imaging.close()
        self._storage.close()

    def _address(self, listener: socket.socket) -> str:
        host = self._options.host
        if host in WILDCARDS:
            host = "::1" if ":" in host else "127.0.0.1"
        port = listener.getsockname()[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def _applications(self) -> list[Answering]:
        """Return new ones, for the main port and for that of the metadata server, if it has one."""
        options, services = self._options, self._make_services()
        named = host_names([*options.allowed_hosts, *options.tls_names])
        hosts = AllowedHosts(options.host, named)
        metadata = GceMetadataServer(services.identities, services.mint, services.clock)
        has_own_port = options.metadata_port is not None
        shared = None if has_own_port or options.tls else metadata
        applications: list[Answering] = [
            Application(services, hosts, shared, self._reset, admin=options.admin)
        ]
        if has_own_port:
            applications.append(GceMetadataApplication(services, hosts, metadata))
        return applications

    def _make_services(self) -> Services:
        identities, settings, clock = self.identities, self.fault_settings, self._clock
        mint = TokenMint(identities.token_secret, clock, self._options.token_lifetime, settings)
        buckets = Buckets(self._options.buckets)
        agent = ServiceAgent(buckets, identities, settings)
        self._access_tokens = AccessTokenEndpoint(identities, mint)
        self.policies = IamPolicies(self._storage.resources, identities, settings)
        self.operations = Operations(self._storage, agent, self._imaging, settings, clock, WORK)
        return Services(
            self._storage,
            identities,
            mint,
            self.policies,
            settings,
            self.operations,
            agent,
            buckets,
            self._imaging,
            clock,
            RecentRequests() if self._options.admin else None,
        )

    def _make_servers(self) -> list[UvicornServer]:
        main, *metadata = self._entrances
        return [self._make_main_server(main), *map(UvicornServer, metadata)]

    def _make_main_server(self, application: GatedApplication) -> UvicornServer:
        if not self._options.tls:
            return UvicornServer(application)
        names = host_names(self._options.tls_names)
        with suppress(HostNameError):
            names = (*host_names([self._options.host]), *names)
        files = ensure_certificates(self._options.directory, names)
        return UvicornServer(application, files.certificate, files.key)
