"""A server that says when it is ready, and a socket that listens."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import threading
from pathlib import Path

import pytest
import urllib3
from starlette.responses import PlainTextResponse

from orthanc_gcp.emulator.auth.certificates import ensure_certificates
from orthanc_gcp.emulator.http.uvicorn_server import UvicornServer, listen

HELLO = PlainTextResponse("hello")


def serve(server: UvicornServer, listener: socket.socket) -> threading.Thread:
    """Run a server in a thread; return when it is ready."""
    ready = threading.Event()
    server.ready = ready.set
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    assert ready.wait(10)
    return thread


def test_it_serves_what_it_is_given() -> None:
    before = signal.getsignal(signal.SIGINT)
    server, listener = UvicornServer(HELLO), listen("127.0.0.1", 0)
    thread = serve(server, listener)
    answer = urllib3.request("GET", f"http://127.0.0.1:{listener.getsockname()[1]}/")
    assert (answer.data, "server" in answer.headers) == (b"hello", False)
    assert signal.getsignal(signal.SIGINT) is before
    server.should_exit = True
    thread.join()
    listener.close()


def test_it_serves_https(tmp_path: Path) -> None:
    files = ensure_certificates(tmp_path, [])
    server, listener = UvicornServer(HELLO, files.certificate, files.key), listen("127.0.0.1", 0)
    thread = serve(server, listener)
    with urllib3.PoolManager(ca_certs=str(files.ca)) as pool:
        address = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        assert pool.request("GET", address).data == b"hello"
    server.should_exit = True
    thread.join()
    listener.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_of_which_there_is_one(host: str) -> None:
    if host == "::1" and not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    with listen(host, 0) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection((host, port), timeout=5):
            pass
        with pytest.raises(OSError, match=f"cannot listen at {host}:{port}: Address") as caught:
            listen(host, port)
        assert caught.value.errno == errno.EADDRINUSE
