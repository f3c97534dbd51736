"""A server that does nothing but move bytes: a body into a file, and that file back.

What it takes is what the machine takes for sockets and files, with the same client.
"""

from __future__ import annotations

import io
import os
import socket
import sys
import threading
from pathlib import Path

_PIECE = 1 << 20


def _serve(connection: socket.socket, path: Path) -> None:
    reader = connection.makefile("rb", buffering=_PIECE)
    with connection, reader:
        while method := reader.readline().split(b" ")[0]:
            length = 0
            while (line := reader.readline()) not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            if method == b"POST":
                _take(reader, path, length)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            else:
                _give(connection, path)


def _take(reader: io.BufferedReader, path: Path, length: int) -> None:
    with path.open("wb", buffering=0) as file:
        while length:
            piece = reader.read1(min(length, _PIECE))
            file.write(piece)
            length -= len(piece)


def _give(connection: socket.socket, path: Path) -> None:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        connection.sendfile(file)


def main() -> None:
    """Print the port, and serve until killed; the argument is a folder."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        path = Path(sys.argv[1]) / "body"
        threading.Thread(target=_serve, args=(connection, path), daemon=True).start()


if __name__ == "__main__":
    main()
