"""Two Orthancs of Debian 13 on one index in PostgreSQL, each with its worker: ``make compat``.

Both have the defaults of Orthanc and of this package, but for what they share: an index, files, and
a ledger.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
import urllib3

from compat.releases import (
    inside,
    install,
    install_wheel,
    make_release,
    orthanc_program,
    shared_folder,
)
from tests.support.front import Front
from tests.support.orthanc import DICOMWEB, PLUGINS, PYTHON, Orthanc, free_port, wait_until
from tests.support.postgres import Postgres
from tests.support.site import Site, make_study
from tests.support.studies import run_json

INDEX, STORAGE = (
    PLUGINS / "libOrthancPostgreSQLIndex.so",
    PLUGINS / "libOrthancPostgreSQLStorage.so",
)
VENV = "/opt/orthanc-gcp"
NAME = "Orthanc/ORTHANC"
"""Of both, by Orthanc's defaults."""
NEW_INSTANCE = 2
"""The type of a change, in Orthanc's database."""
LATE_CHANGES = f"""
CREATE TABLE late (LIKE Changes);
CREATE FUNCTION be_late() RETURNS trigger AS $$ BEGIN
    INSERT INTO late VALUES (NEW.*);
    RETURN NULL;
END $$ LANGUAGE plpgsql;
CREATE TRIGGER be_late BEFORE INSERT ON Changes FOR EACH ROW
WHEN (current_setting('application_name') = 'one' AND NEW.changeType = {NEW_INSTANCE})
EXECUTE FUNCTION be_late();
"""
SEEN_AT_LAST = """
DROP TRIGGER be_late ON Changes;
ALTER TABLE Changes DISABLE TRIGGER insertedchange;
INSERT INTO Changes SELECT * FROM late;
ALTER TABLE Changes ENABLE TRIGGER insertedchange;
"""
TAKEN_OVER_WITHIN = 60


@pytest.fixture(scope="module")
def release() -> Path:
    """Debian 13 with Orthanc's PostgreSQL plugins, and with this package and its worker."""
    root = make_release("trixie")
    if not (root / INDEX.relative_to("/")).exists():
        install(root, "orthanc-postgresql")
    install_wheel(root, VENV, "worker")
    return root


class Kind(NamedTuple):
    """What is not as by default: where files lie, and what the two are called."""

    stores_files: bool = False
    names_differ: bool = False


KINDS = {
    "defaults": Kind(),
    "files in PostgreSQL": Kind(stores_files=True),
    "names": Kind(names_differ=True),
}


class Sent(Front):
    """What is sent to the store: how often each instance, and which ones twice at once."""

    def __init__(self) -> None:
        super().__init__()
        self.times: Counter[str] = Counter()
        self.at_once: set[str] = set()
        self._running: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def passing(self, body: bytes) -> Iterator[None]:
        # Media Storage SOP Instance UID (0002,0003), PS3.10 section 7.1.
        names = [one.decode() for one in re.findall(rb"\x02\0\x03\0UI..([\d.]+)", body, re.DOTALL)]
        with self._lock:
            self.times.update(names)
            self._running.update(names)
            self.at_once |= {name for name in names if self._running[name] > 1}
        try:
            yield
        finally:
            with self._lock:
                self._running.subtract(names)


class SharedIndex(Site):
    """Two Orthancs on one index; the one of a :class:`Site` is a modality that sends to both."""

    def __init__(self, folder: Path, release: Path, postgres: Postgres, kind: Kind) -> None:
        self._release, self._postgres, self._kind = release, postgres, kind
        for name in ("index", "ledger"):
            with psycopg.connect(postgres.url, autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {name}")
        self.sent = Sent()
        self._dicom = {name: free_port() for name in ("one", "two")}
        super().__init__(
            folder,
            section={"Database": self.database("ledger"), "BaseUrl": f"{self.sent.url}/v1beta1/"},
            orthanc={
                "DicomModalities": {
                    name: ["ORTHANC", "127.0.0.1", port] for name, port in self._dicom.items()
                }
            },
        )
        self.sent.target = self.emulator.url
        self.modality = self.orthanc
        self.orthancs = {name: self._orthanc(name) for name in self._dicom}

    def database(self, name: str) -> str:
        return f"{self._postgres.url.rpartition('/')[0]}/{name}"

    def _orthanc(self, name: str) -> Orthanc:
        return Orthanc(
            self.folder / name,
            {
                "Name": name if self._kind.names_differ else NAME.partition("/")[0],
                "StorageDirectory": str(self.folder / "storage"),
                "IndexDirectory": str(self.folder / "storage"),
                "DicomServerEnabled": True,
                "DicomPort": self._dicom[name],
                "PostgreSQL": {
                    "EnableIndex": True,
                    "EnableStorage": self._kind.stores_files,
                    "Lock": False,
                    "ConnectionUri": f"{self.database('index')}?application_name={name}",
                    "IndexConnectionsCount": 5,
                },
                "GoogleCloudPlatform": self.configuration,
            },
            plugins=(INDEX, STORAGE, DICOMWEB, PYTHON),
            python_script=inside(self._release, f"{VENV}/bin/orthanc-gcp plugin-script"),
            environment={"HOST_NAME": name},
            executable=orthanc_program(self._release, self.folder),
        )

    def log(self, name: str = "one") -> str:
        return self.orthancs[name].log

    def __enter__(self) -> SharedIndex:
        self.modality.start()
        for orthanc in self.orthancs.values():
            orthanc.start()
        return self

    def __exit__(self, *_: object) -> None:
        for orthanc in (self.modality, *self.orthancs.values()):
            orthanc.stop()
        self.emulator.stop()

    # -- Modalities -----------------------------------------------------------------------------

    def by_rest(self, name: str) -> None:
        for file in make_study(instances=10):
            self.orthancs[name].json("POST", "/instances", file)

    def by_dicom(self, name: str) -> None:
        """C-STORE (DICOM PS3.7 section 9.1.1)."""
        new = [self.upload(file) for file in make_study(instances=10)]
        self.modality.json("POST", f"/modalities/{name}/store", new)

    def receive(self, studies: int = 1, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Both receive studies at once by both ways, and something else happens meanwhile."""

        def send(way: Callable[[str], None], name: str) -> None:
            for _ in range(studies):
                if self.orthancs[name].running:
                    with suppress(AssertionError, urllib3.exceptions.HTTPError):
                        way(name)

        with ThreadPoolExecutor(4) as threads:
            for way in (self.by_rest, self.by_dicom):
                for name in self.orthancs:
                    threads.submit(send, way, name)
            meanwhile()

    # -- What must be true ----------------------------------------------------------------------

    def claims_of(self, worker: str) -> int:
        return sum(row.state == "sending" and row.worker == worker for row in self.rows())

    def received(self) -> dict[str, bytes]:
        """What Orthanc has, whoever was answered that it has it."""
        orthanc = self.orthancs["two"]
        return {
            one: orthanc.request("GET", f"/instances/{one}/file").data
            for one in orthanc.json("GET", "/instances")
        }

    def all_confirmed(self) -> None:
        """Each instance is in the ledger once, and in the store as Orthanc has it."""
        received = self.received()
        wait_until(
            lambda: self.states() == {"confirmed": len(received)},
            120,
            lambda: f"{self.states()} is not {len(received)} confirmed",
        )
        assert sorted(row.orthanc_id for row in self.rows()) == sorted(received)
        assert sorted(self.stored().values()) == sorted(received.values())
        assert not self.sent.at_once, "sent twice at once"
        found = run_json(self, "indexes", config=self.orthancs["two"].configuration_file)
        assert [one["OpenInstances"] for one in found] == [0], found
        assert self._kind.names_differ or found[0]["Orthanc"] == NAME


@pytest.fixture(params=KINDS)
def site(request, release, tmp_path) -> Iterator[SharedIndex]:
    """Both run, and nothing was received yet."""
    tmp_path.chmod(0o755)
    postgres = Postgres()
    try:
        with (
            shared_folder(release, tmp_path),
            SharedIndex(tmp_path, release, postgres, KINDS[request.param]) as made,
        ):
            made.wait_for_following()
            yield made
    finally:
        postgres.remove()


def test_one_is_killed_and_comes_back_under_another_name(site):
    site.receive(2)
    assert len(site.received()) == 80
    site.all_confirmed()

    site.emulator.kill()
    site.receive()
    assert site.states()["confirmed"] < len(site.received())
    site.emulator.start()
    site.all_confirmed()

    one = site.orthancs["one"]
    victim = f"one:{one.port}"
    site.emulator.switch(bandwidth=50_000)  # requests last

    def kill() -> None:
        wait_until(lambda: site.claims_of(victim), 30, lambda: site.log("one"))
        one.kill()

    site.receive(6, meanwhile=kill)
    assert site.claims_of(victim)
    site.emulator.switch(bandwidth=None)
    wait_until(lambda: not site.claims_of(victim), TAKEN_OVER_WITHIN, lambda: site.log("two"))
    assert f"worker {victim} has died" in site.log("two")
    site.all_confirmed()

    one.add_environment({"HOST_NAME": "three"})
    one.start()
    one.wait_for_log(f"the worker three:{one.port} has started")
    site.receive(2)
    site.all_confirmed()


@pytest.mark.parametrize("site", ["defaults"], indirect=True)
def test_changes_become_visible_after_later_ones(site):
    """As with several writers: a number is taken before, and seen after, that of another."""
    site.receive()
    site.all_confirmed()
    with psycopg.connect(site.database("index"), autocommit=True) as index:
        index.execute(LATE_CHANGES)
        site.receive(2)
        (late,) = index.execute("SELECT count(*) FROM late").fetchone()
        total = len(site.received())
        assert 0 < late < total
        site.wait_for(confirmed=total - late)
        index.execute(SEEN_AT_LAST)
    site.all_confirmed()
