"""Web pages of clients: packages of npm that are served as they are, and the browser for them."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import shutil
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from compat.clients.environments import PLACE
from compat.releases import run

__all__ = ["serve", "viewer_folder"]

_VIEWERS = {
    "@ohif/app@3.12.10": (
        "sha512-0kuF66Mq9c9dMD++bUsTjMrJpXJwaZhz9B4uS244DawAjSkTwIYFU93pxPuRUQixaRi7QAHlF3Fe1qudBlZrmA=="
    ),
    "dicom-microscopy-viewer@0.48.24": (
        "sha512-016o/23eNqXMxgX5EjnDmFz1ROSMQmU7vmRlTVPUgshl6NaBrZzEyWkzq4BNaFFPfrE274AWdR5crW51cWh+9g=="
    ),
}


def viewer_folder(name: str) -> Path:
    """Return the folder of a viewer, a package of npm, without what it depends on.

    Viewers come with everything built in; what they were built of is gigabytes.
    """
    (pinned,) = (known for known in _VIEWERS if known.rpartition("@")[0] == name)
    if shutil.which("npm") is None:
        pytest.skip("there is no npm")
    folder = PLACE / "clients-web" / pinned.replace("/", "-").removeprefix("@")
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        file = run("npm", "pack", "--silent", pinned, cwd=folder.parent).split()[-1]
        content = (folder.parent / file).read_bytes()
        digest = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
        assert digest == _VIEWERS[pinned], f"{pinned} is {digest}"
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            archive.extractall(folder, filter="data")
        (folder.parent / file).unlink()
    return folder / "package"


class _Pages(http.server.SimpleHTTPRequestHandler):
    """Files, those that are made for the test before those of the folder."""

    made: Mapping[str, bytes]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        content, file = self.made.get(path), Path(self.translate_path(path))
        if content is None and file.is_file():
            super().do_GET()
            return
        if content is None:
            # An application of one page looks at the path itself.
            path, index = "/index.html", Path(self.directory) / "index.html"
            content = self.made.get(path) or (index.read_bytes() if index.is_file() else b"")
        self.send_response(200)
        # OpenID Connect's configuration has a name without an extension.
        kind = self.guess_type(path) if "." in path.rpartition("/")[2] else "application/json"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serve(folder: Path, made: Mapping[str, bytes]) -> Iterator[str]:
    """Serve the files of a folder, and some that are made; yield the address."""
    handler = type("Pages", (_Pages,), {"made": made})
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *given: handler(*given, directory=str(folder))
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
