"""The emulator inside a program: its addresses, its stores, its start and its end."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import urllib3

from orthanc_gcp.emulator import server
from orthanc_gcp.emulator.faults.fault_settings import SettingError
from orthanc_gcp.emulator.faults.network_profiles import GOOGLE
from orthanc_gcp.emulator.resource_names import StoreName
from orthanc_gcp.emulator.server import DEFAULT_STORE, Emulator, Options, Seed
from tests.emulator.client import Client, make_dicom, read
from tests.emulator.contents import stored_contents
from tests.emulator.faults.first_values import FIRST

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


REDIRECTED = """
import socket, sys

import google.auth
from google.auth.transport.requests import AuthorizedSession

port, folder, store = int(sys.argv[1]), sys.argv[2], sys.argv[3]
resolve, asked = socket.getaddrinfo, []

def as_a_hosts_file(host, _port, *arguments, **more):
    asked.append(host)
    return resolve("127.0.0.1", port, *arguments, **more)

socket.getaddrinfo = as_a_hosts_file
for name in ("authorized-user", "impersonated-service-account"):
    credentials, _ = google.auth.load_credentials_from_file(
        f"{folder}/{name}.json", scopes=["https://www.googleapis.com/auth/cloud-platform"]
    )
    with AuthorizedSession(credentials) as session:
        answer = session.get(f"https://healthcare.googleapis.com/v1/{store}")
        print(answer.status_code, answer.json()["name"] == store)
        uploaded = session.post(
            f"https://healthcare.googleapis.com/v1/{store}/dicomWeb/studies",
            data=open(sys.argv[4], "rb").read(),
            headers={"Content-Type": "application/dicom", "Accept": "application/dicom+json"},
        )
        print(uploaded.json().get("00081190", {}).get("Value", [""])[0])
print(*sorted(set(asked)))
"""


def test_clients_that_ask_google_itself(folder: Path, tmp_path: Path) -> None:
    """google-auth ignores the token_uri of a user, and the host of an impersonation."""
    content = make_dicom()
    (tmp_path / "image").write_bytes(content)
    options = Options(folder, tls=True, tls_names=("google",), write_credentials=folder)
    with Emulator(options) as emulator:
        port = emulator.url.rpartition(":")[2]
        done = subprocess.run(
            [
                *(sys.executable, "-W", "ignore", "-c", REDIRECTED),
                *(port, str(folder), str(DEFAULT_STORE), str(tmp_path / "image")),
            ],
            env={**os.environ, "REQUESTS_CA_BUNDLE": str(emulator.ca), "no_proxy": "*"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    found, url, again, _, asked = done.stdout.splitlines()
    assert (found, again) == ("200 True", "200 True")
    study = read(content).StudyInstanceUID
    root = f"https://healthcare.googleapis.com/v1/{DEFAULT_STORE}/dicomWeb"
    assert url.startswith(f"{root}/studies/{study}")
    assert asked.split() == [
        f"{name}.googleapis.com" for name in ("healthcare", "iamcredentials", "oauth2")
    ]


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


LARGE = bytes(200_000)
"""So many bytes are in a file, and fewer in the database."""
SEEDED = make_dicom(pixels=LARGE)


@pytest.fixture
def seeded(folder: Path, tmp_path: Path) -> Iterator[tuple[Emulator, Client]]:
    """An emulator with a seed and settings of its own, and a client of it."""
    (tmp_path / "seed").mkdir()
    (tmp_path / "seed" / "image").write_bytes(SEEDED)
    options = Options(
        folder,
        stores=(DEFAULT_STORE, OTHER),
        seed=(tmp_path / "seed",),
        write_credentials=folder,
        admin=True,
        fault_settings={"emptyQido": 200},
    )
    with Emulator(options) as emulator:
        client = Client(emulator.url, folder)
        yield emulator, client
        client.pool.clear()


def uids(client: Client) -> list[str]:
    return [found["00080018"]["Value"][0] for found in client.search("/instances")]


SEEDED_UID = str(read(SEEDED).SOPInstanceUID)


def test_a_seed_goes_into_the_first_store_or_the_one_that_is_named(
    folder: Path, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "image").write_bytes(make_dicom(PatientID=name))
    seeds = (tmp_path / "one", Seed(tmp_path / "two", OTHER))
    lines: list[str] = []
    options = Options(folder, seed=seeds, fault_settings={"searchLag": 1000})
    for _ in range(2):
        with Emulator(options, report=lines.append) as emulator:
            for store, patient in ((DEFAULT_STORE, "one"), (OTHER, "two")):
                found = ask(emulator, f"/v1/{store}/dicomWeb/studies").json()
                assert [study["00100020"]["Value"] for study in found] == [[patient]]
    assert [line.partition(": ")[2] for line in lines] == [
        *["1 stored, 0 there already, 0 left out"] * 2,
        *["0 stored, 1 there already, 0 left out"] * 2,
    ]


def test_fault_settings_change_a_network_profile(folder: Path) -> None:
    options = Options(folder, network="google", fault_settings={"latency": 0.01})
    with Emulator(options) as emulator:
        expected = {**FIRST, **GOOGLE, "latency": 0.01}
        assert emulator.fault_settings.as_json() == expected
        emulator.fault_settings.change(network=None)
        assert emulator.fault_settings.as_json() == FIRST
        emulator.reset()
        assert emulator.fault_settings.as_json() == expected
    with pytest.raises(SettingError):
        Emulator(Options(folder, network="fast"))


def test_a_seed_that_is_missing_leaves_nothing_open(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="/nowhere"):
        Emulator(Options(folder, seed=(Path("/nowhere"),)))
    with Emulator(Options(folder)):
        pass


def change_everything(emulator: Emulator, client: Client) -> None:
    """Leave a trace in whatever remembers something."""
    project, location = "projects/osimis-test", f"{client.url}/v1/projects/osimis-test"
    location += "/locations/europe-west2"
    owner = client.as_owner()
    assert client.store(make_dicom(), make_dicom(pixels=LARGE)).status == 200
    policy = {"policy": {"bindings": [{"role": "roles/healthcare.dicomViewer", "members": []}]}}
    for verb, url, body in (
        ("POST", f"{location}/datasets?datasetId=more", {}),
        ("POST", f"{location}/datasets/test/dicomStores?dicomStoreId=more", {}),
        ("PUT", f"{client.url}/v1/{project}/topics/topic", {}),
        (
            "PUT",
            f"{client.url}/v1/{project}/subscriptions/sub1",
            {"topic": f"{project}/topics/topic"},
        ),
        ("POST", f"{client.url}/v1/{client.store_name}:setIamPolicy", policy),
        ("PATCH", f"{client.url}/v1/{OTHER}?updateMask=labels", {"labels": {"a": "b"}}),
        ("DELETE", f"{location}/datasets/more", None),
    ):
        token = {"Authorization": f"Bearer {owner.token}"}
        answer = client.pool.request(verb, url, json=body, headers=token)
        assert answer.status == 200, answer.data
    emulator.delete_store(DEFAULT_STORE)
    emulator.fault_settings.change(disabledApi=True, emptyQido=204)
    emulator.identities.delete_key(next(iter(emulator.identities.service_accounts[0].keys)))
    emulator.identities.revoke(emulator.identities.users[0].refresh_token)


def test_a_reset_brings_everything_back(seeded: tuple[Emulator, Client], folder: Path) -> None:
    emulator, client = seeded
    identities = (folder / "identities.json").read_bytes()
    settings = emulator.fault_settings.as_json()
    change_everything(emulator, client)
    emulator.reset()
    assert emulator.fault_settings.as_json() == settings
    assert (folder / "identities.json").read_bytes() == identities
    assert uids(client) == [SEEDED_UID]
    again = Client(emulator.url, folder)
    assert uids(again) == uids(again.as_owner()) == [SEEDED_UID]
    again.pool.clear()
    shown = client.pool.request("GET", f"{client.url}/emulator/overview").json()["requests"]
    assert {request["method"] for request in shown} == {"GET", "POST"}
    assert len(shown) == 5
    for path in ("topics", "subscriptions", "locations/europe-west2/datasets"):
        token = {"Authorization": f"Bearer {emulator.access_token()}"}
        url = f"{client.url}/v1/projects/osimis-test/{path}"
        listed = client.pool.request("GET", url, headers=token).json()
        if "datasets" in path:
            names = [dataset["name"] for dataset in listed["datasets"]]
            assert names == sorted(map(str, (DEFAULT_STORE.parent, OTHER.parent)))
        else:
            assert listed == {}
    for store in (DEFAULT_STORE, OTHER):
        assert ask(emulator, f"/v1/{store}").json() == {"name": str(store)}
    # Of what was just deleted, Google says something else than of what never was.
    assert ask(emulator, f"/v1/{DEFAULT_STORE.parent.parent}/datasets/more").status == 403
    operations = ask(emulator, f"/v1/{DEFAULT_STORE.parent}/operations").json()
    assert operations == {}
    assert stored_contents(folder) == [SEEDED]


def test_whoever_asks_while_it_starts_is_answered_when_it_serves(folder: Path) -> None:
    emulator = Emulator(Options(folder))
    address = ("127.0.0.1", int(emulator.url.rpartition(":")[2]))
    with socket.create_connection(address, timeout=30) as early:
        early.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        early.setblocking(False)
        with pytest.raises(BlockingIOError):
            early.recv(1)
        early.settimeout(30)
        with emulator:
            assert early.recv(15) == b"HTTP/1.1 200 OK"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def test_a_reset_before_it_serves(folder: Path) -> None:
    emulator = Emulator(Options(folder))
    emulator.create_store(OTHER)
    emulator.reset()
    with emulator:
        assert ask(emulator, f"/v1/{DEFAULT_STORE}").status == 200
        assert ask(emulator, f"/v1/{OTHER}").status != 200


def test_a_reset_ends_what_was_asked_before_it(seeded: tuple[Emulator, Client]) -> None:
    """Uploads, calls that are late and operations: none of them happens after its end."""
    emulator, client = seeded
    host, _, port = client.url.rpartition("/")[2].rpartition(":")
    content = make_dicom(pixels=bytes(1_000_000))
    with socket.create_connection((host, int(port)), timeout=30) as upload:
        head = (
            f"POST /v1/{client.store_name}/dicomWeb/studies HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {client.token}\r\nContent-Type: application/dicom\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        upload.sendall(head.encode() + content[:700_000])
        emulator.fault_settings.change(operationDelay=1000)
        study = read(SEEDED).StudyInstanceUID
        assert client.request("DELETE", f"/studies/{study}").status == 200
        emulator.fault_settings.change(latency=1000)
        with ThreadPoolExecutor() as threads:
            late = threads.submit(client.store, make_dicom())
            running = emulator._gate._running
            until(lambda: [s["method"] for s in list(running.values())] == ["POST", "POST"])
            emulator.reset()
            with pytest.raises(urllib3.exceptions.ProtocolError):
                late.result()
        with pytest.raises(ConnectionError):
            upload.sendall(content[700_000:])
            upload.recv(1)
    assert uids(client) == [SEEDED_UID]
    # The study that was being deleted takes instances again.
    assert client.store(make_dicom(StudyInstanceUID=study)).status == 200


def test_a_reset_does_not_wait_for_ever(
    seeded: tuple[Emulator, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator, client = seeded
    monkeypatch.setattr(server, "_END_WITHIN", 0.05)
    goes_on = threading.Event()
    waiting = emulator._threads.submit(goes_on.wait, 30)
    with pytest.raises(TimeoutError, match="an operation does not end"):
        emulator.reset()
    goes_on.set()
    assert waiting.result()
    assert client.store(make_dicom()).status == 200
    assert len(uids(client)) == 2
    emulator.reset()
    assert uids(client) == [SEEDED_UID]


def until(condition: object) -> None:
    end = time.monotonic() + 30
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)


def test_resets_among_uploads_of_many(seeded: tuple[Emulator, Client]) -> None:
    """What is there after a reset was acknowledged after it began."""
    emulator, client = seeded
    going = True
    acknowledged: set[str] = set()

    def upload() -> None:
        while going:
            content = make_dicom()
            try:
                answer = client.store(content)
            except urllib3.exceptions.ProtocolError:
                continue
            if answer.status == 200:
                acknowledged.add(str(read(content).SOPInstanceUID))

    threads = [threading.Thread(target=upload) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        before = set(acknowledged)
        until(lambda: len(acknowledged) > len(before) + 3)  # noqa: B023
        before = set(acknowledged)
        emulator.reset()
        assert SEEDED_UID in (found := uids(client))
        assert before.isdisjoint(found)
    going = False
    for thread in threads:
        thread.join()
    emulator.reset()
    assert uids(client) == [SEEDED_UID]
