"""A name server of a network of its own, for programs that are to see no other.

Run as ``unshare --map-root-user --mount --net python -m tests.support.name_server NAMES COMMAND…``:
these names, separated by commas, are 127.0.0.1, and no other is anything (RFC 1035 §4).
"""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading

SEPARATE = ["unshare", "--map-root-user", "--mount", "--net"]


def possible() -> bool:
    """Whether this machine lets us have a network of our own."""
    if shutil.which("unshare") is None:
        return False
    command = [*SEPARATE, sys.executable, "-m", "tests.support.name_server", "a.test", "true"]
    return subprocess.run(command, capture_output=True).returncode == 0


def answer(query: bytes, names: set[str]) -> bytes:
    """The answer to a question for one name."""
    labels, at = [], 12
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode())
        at += 1 + length
    question = query[12 : at + 5]
    known = ".".join(labels).lower() in names
    of_ipv4 = query[at + 1 : at + 3] == b"\0\1"
    flags = 0x8180 if known else 0x8183  # NXDOMAIN
    head = query[:2] + struct.pack(">HHHHH", flags, 1, int(known and of_ipv4), 0, 0)
    record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + bytes([127, 0, 0, 1])
    return head + question + (record if known and of_ipv4 else b"")


def serve(listener: socket.socket, names: set[str]) -> None:
    while True:
        query, client = listener.recvfrom(4096)
        listener.sendto(answer(query, names), client)


def main() -> int:
    names, command = set(sys.argv[1].split(",")), sys.argv[2:]
    subprocess.run(["ip", "link", "set", "lo", "up"], check=False, capture_output=True)
    with tempfile.NamedTemporaryFile("w") as file:
        file.write("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n" if names != {""} else "")
        file.flush()
        subprocess.run(["mount", "--bind", file.name, "/etc/resolv.conf"], check=True)
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        listener.bind(("127.0.0.1", 53))
        threading.Thread(target=serve, args=(listener, names), daemon=True).start()
        return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(main())
