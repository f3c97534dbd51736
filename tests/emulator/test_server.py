"""The emulator inside a program: its addresses, its stores, its start and its end."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from pathlib import Path

import pytest
import urllib3

from orthanc_gcp.emulator.resource_names import StoreName
from orthanc_gcp.emulator.server import DEFAULT_STORE, Emulator, Options
from tests.emulator.client import Client, make_dicom

OTHER = StoreName("osimis-test", "europe-west2", "another", "dicom")


@pytest.fixture
def folder(tmp_path: Path, identities: Path) -> Path:
    """A folder of an emulator that has its identities already."""
    folder = tmp_path / "data"
    folder.mkdir()
    shutil.copy(identities, folder)
    return folder


def ask(emulator: Emulator, path: str, host: str = "") -> urllib3.BaseHTTPResponse:
    token = {"Authorization": f"Bearer {emulator.access_token()}"}
    return urllib3.request("GET", f"{host or emulator.url}{path}", headers=token)


def test_addresses(folder: Path) -> None:
    with Emulator(Options(folder, write_credentials=folder)) as emulator:
        assert emulator.url.startswith("http://127.0.0.1:")
        assert emulator.token_uri == f"{emulator.url}/token"
        assert f"http://{emulator.metadata_host}" == emulator.url
        assert emulator.dicomweb_url() == f"{emulator.url}/v1/{DEFAULT_STORE}/dicomWeb"
        assert emulator.credentials == folder
        assert ask(emulator, f"/v1/{DEFAULT_STORE}/dicomWeb/studies").status == 204


@pytest.mark.parametrize(
    ("host", "shown"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]")]
)
def test_addresses_of_all_interfaces(folder: Path, host: str, shown: str) -> None:
    if ":" in host and not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    with Emulator(Options(folder, host=host)) as emulator:
        assert emulator.url.startswith(f"http://{shown}:")
        assert ask(emulator, f"/v1/{DEFAULT_STORE}").status == 200


def test_over_https_there_is_no_metadata_server(folder: Path) -> None:
    with Emulator(Options(folder, tls=True)) as emulator:
        assert emulator.url.startswith("https://")
        assert emulator.metadata_host is None
        with urllib3.PoolManager(ca_certs=str(emulator.ca)) as pool:
            assert pool.request("GET", f"{emulator.url}/").status == 200


@pytest.mark.parametrize("tls", [False, True])
def test_a_port_for_the_metadata_server_alone(folder: Path, tls: bool) -> None:
    with Emulator(Options(folder, tls=tls, metadata_port=0)) as emulator:
        assert emulator.metadata_host not in (None, emulator.url.partition("//")[2])
        machine, flavor = f"http://{emulator.metadata_host}", {"Metadata-Flavor": "Google"}
        path = "/computeMetadata/v1/project/project-id"
        assert urllib3.request("GET", machine + path, headers=flavor).data == b"osimis-test"
        assert ask(emulator, f"/v1/{DEFAULT_STORE}", machine).status == 404
        emulator.fault_settings.change(metadata=False)
        assert urllib3.request("GET", machine + path, headers=flavor).status == 404


def test_stores_come_and_go(folder: Path) -> None:
    with Emulator(Options(folder, stores=(DEFAULT_STORE, OTHER))) as emulator:
        assert ask(emulator, f"/v1/{OTHER}").status == 200
        emulator.delete_store(OTHER)
        emulator.delete_store(OTHER)
        assert ask(emulator, f"/v1/{OTHER}").status == 404
        emulator.create_store(OTHER)
        emulator.create_store(OTHER)
        assert ask(emulator, f"/v1/{OTHER}").status == 200


def test_a_port_that_is_taken_leaves_nothing_open(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for options in (Options(folder, port=port), Options(folder, metadata_port=port)):
            with pytest.raises(OSError, match=f"cannot listen at 127.0.0.1:{port}"):
                Emulator(options)
    # Neither the directory nor the port is still in use.
    with Emulator(Options(folder, port=port)) as emulator:
        assert emulator.url.endswith(f":{port}")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_runs_until_a_signal(folder: Path, how: signal.Signals) -> None:
    emulator = Emulator(Options(folder))
    address = ("127.0.0.1", int(emulator.url.rpartition(":")[2]))
    times_ready = []

    def ready() -> None:
        with socket.create_connection(address):
            times_ready.append(time.monotonic())
        os.kill(os.getpid(), how)

    emulator.run(ready)
    assert len(times_ready) == 1
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def test_what_was_stored_is_there_again(folder: Path) -> None:
    for number in range(2):
        with Emulator(Options(folder, write_credentials=folder)) as emulator:
            client = Client(emulator.url, folder)
            assert len(client.search("/studies")) == number
            assert client.store(make_dicom()).status == 200
            client.pool.clear()
