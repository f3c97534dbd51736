"""kill -9, again and again, while clients store, replace and delete: nothing is lost or half."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path

import urllib3
from pydicom.uid import generate_uid

from tests.emulator.client import MULTIPART, Client, make_dicom, multipart, path_of, read
from tests.emulator.contents import stored_contents
from tests.emulator.processes import running

SIZES = (100, 10_000, 200_000, 2_000_000)
ROUNDS = 3
ANSWERS = 30
"""How many requests are answered in a round before the end comes."""

States = dict[str, set[bytes | None]]
"""By the path of an instance: what it may be now; ``None`` stands for its absence."""


class Traffic:
    """Clients that know of each of their instances what it may be after a sudden end."""

    def __init__(self) -> None:
        self.states: States = {}
        self.answers = itertools.count()
        self.answered = 0

    def send(self, client: Client, verb: str, changes: dict[str, bytes | None]) -> None:
        """Send a request; until it is answered, each instance is the old one or the new one."""
        before = {path: self.states.get(path, {None}) for path in changes}
        for path, content in changes.items():
            self.states[path] = before[path] | {content}
        files = [content for content in changes.values() if content is not None]
        if verb == "DELETE":
            (path,) = changes
            status = client.request("DELETE", path).status
        else:
            url = client.web.replace("/v1/", "/v1beta1/") + "/studies"
            kind = f"{MULTIPART}; boundary=x"
            status = client.request(verb, url, multipart(files, "x"), content_type=kind).status
        assert status == 200
        for path, content in changes.items():
            self.states[path] = {content}
        self.answered = next(self.answers) + 1

    def store(self, client: Client, number: int) -> None:
        """Store several instances of a study in one request, forever."""
        while True:
            study = generate_uid()
            files = [make_dicom(bytes(size), StudyInstanceUID=study) for size in SIZES[:number]]
            self.send(client, "POST", {path_of(read(file)): file for file in files})

    def replace(self, client: Client, size: int) -> None:
        """Replace one instance, forever."""
        uids = {
            name: generate_uid()
            for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        }
        for version in itertools.count():
            file = make_dicom(version.to_bytes(4, "big") * (size // 4), **uids)
            self.send(client, "PUT", {path_of(read(file)): file})

    def delete(self, client: Client, size: int) -> None:
        """Store an instance and delete it, forever."""
        while True:
            file = make_dicom(bytes(size))
            path = path_of(read(file))
            self.send(client, "POST", {path: file})
            self.send(client, "DELETE", {path: None})

    def workers(self) -> list[tuple[Callable[[Client, int], None], int]]:
        return [
            (self.store, 1),
            (self.store, len(SIZES)),
            (self.replace, 1000),
            (self.replace, 1_000_000),
            (self.delete, 1000),
            (self.delete, 1_000_000),
        ]

    def compare(self, client: Client) -> int:
        """Compare a store with what it may be; return how many instances there are."""
        visible = set()
        for match in client.search("/instances", limit="50000"):
            uids = [match[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018")]
            visible.add("/studies/{}/series/{}/instances/{}".format(*uids))
        assert visible <= self.states.keys()
        for path, possible in self.states.items():
            answer = client.get(path, "application/dicom; transfer-syntax=*")
            found = answer.data if answer.status == 200 else None
            assert (path in visible) == (found is not None)
            assert found in possible
            self.states[path] = {found}
        return len(visible)


def test_kills_while_clients_store_replace_and_delete(tmp_path: Path) -> None:
    traffic = Traffic()
    surprises: list[BaseException] = []

    def work(worker: Callable[[Client, int], None], client: Client, size: int) -> None:
        try:
            worker(client, size)
        except urllib3.exceptions.HTTPError:
            return  # the end came
        except BaseException as error:
            surprises.append(error)

    for round_ in range(1, ROUNDS + 1):
        with running(tmp_path) as process:
            client = Client(process.url, tmp_path)
            threads = [
                threading.Thread(target=work, args=(worker, client, size))
                for worker, size in traffic.workers()
            ]
            for thread in threads:
                thread.start()
            deadline = time.monotonic() + 30
            while traffic.answered < round_ * ANSWERS and time.monotonic() < deadline:
                time.sleep(0.005)
            process.kill()
            for thread in threads:
                thread.join()
            client.pool.clear()
        assert not surprises
        assert traffic.answered >= round_ * ANSWERS
        with running(tmp_path) as process:
            client = Client(process.url, tmp_path)
            count = traffic.compare(client)
            client.pool.clear()
        assert len(stored_contents(tmp_path)) == count
