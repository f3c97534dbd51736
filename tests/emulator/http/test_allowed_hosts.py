"""Names that a page in a browser can let lead to the emulator: they are refused."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.client import Client


def status(url: str, *hosts: str, path: str = "/healthz") -> int:
    """Return the status of an answer to a request with these ``Host`` headers."""
    address, _, port = url.rpartition("/")[2].rpartition(":")
    names = "".join(f"Host: {host}\r\n" for host in hosts)
    with socket.create_connection((address, int(port)), timeout=30) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\n{names}Connection: close\r\n\r\n".encode())
        return int(connection.recv(100).split()[1])


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:80", "127.0.0.1:1", "[::1]:8085", "a.localhost", ""]
)
def test_loopback_names(client: Client, host: str) -> None:
    assert status(client.url, host) == 200


@pytest.mark.parametrize(
    "host",
    [
        "attacker.example",
        "localhost.attacker.example",
        "127.0.0.1.attacker.example:8085",
        "192.0.2.1",
        "[2001:db8::1]:8085",
        "[::1].attacker.example",
        "metadata.google.internal",
        "localhost\x00",
        "a b",
        ".",
        "*",
    ],
)
@pytest.mark.parametrize("path", ["/healthz", "/emulator/token", "/v1/projects/p", "/", "/x"])
def test_others(client: Client, host: str, path: str) -> None:
    assert status(client.url, host, path=path) in (400, 421)


def test_each_of_several_has_to_be_allowed(client: Client) -> None:
    assert status(client.url, "localhost", "attacker.example") == 421
    assert status(client.url, "attacker.example", "localhost") == 421
    assert status(client.url) == 200


def test_the_answer_names_the_option(client: Client) -> None:
    answer = client.pool.request("GET", f"{client.url}/", headers={"Host": "emulator.test"})
    assert answer.status == 421
    assert b"--allow-host" in answer.data
    assert b"emulator.test" not in answer.data


def test_more_names(tmp_path: Path) -> None:
    allowed = ("Emulator", "*.test.example", "google")
    with Emulator(Options(tmp_path, allowed_hosts=allowed, metadata_port=0)) as running:
        metadata = f"http://{running.metadata_host}"
        for url in (running.url, metadata):
            path = "/healthz" if url == running.url else "/"
            for host in ("emulator:8085", "a.test.example", "metadata.google.internal"):
                assert status(url, host, path=path) != 421
            for host in ("test.example", "a.b.test.example", "emulators", "googleapis.com"):
                assert status(url, host, path=path) == 421


def test_all_addresses(tmp_path: Path) -> None:
    with Emulator(Options(tmp_path, host="0.0.0.0")) as running:
        assert status(running.url, "192.0.2.1:8085") == 200
        assert status(running.url, "[2001:db8::1]:8085") == 200
        assert status(running.url, "attacker.example") == 421
