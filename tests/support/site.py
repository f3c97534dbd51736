"""A hospital in small: a real Orthanc, the emulator, and a worker, each killed by its own pid."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy
import pydicom
import sqlalchemy as sql
import urllib3
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from orthanc_gcp.ledger import database
from orthanc_gcp.ledger.schema import change_cursors, transfers
from tests.support.auditing import audited, taken_from_elsewhere
from tests.support.emulator import STORE_PATH, Emulator
from tests.support.keys import STORE
from tests.support.orthanc import DICOMWEB, Orthanc, free_port, wait_until

ACCOUNT = "google"
SECRET = "the-secret-of-the-api-of-this-site"


class Site:
    """Everything in one folder; nothing runs until it is started.

    Parameters
    ----------
    rules
        ``GoogleCloudPlatform.Send``.
    account
        More options of the account.
    section
        More options of the section.
    listen
        Whether the worker offers its REST API, to :meth:`api`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        rules: Iterable[dict[str, Any]] = ({"To": ACCOUNT},),
        account: dict[str, Any] | None = None,
        section: dict[str, Any] | None = None,
        orthanc: dict[str, Any] | None = None,
        emulator_arguments: tuple[str, ...] = ("--admin",),
        listen: bool = False,
    ) -> None:
        self._api_port = free_port() if listen else None
        self.folder = folder
        self.emulator = Emulator(folder / "emulator", *emulator_arguments)
        self.configuration = {
            "BaseUrl": f"{self.emulator.url}/v1beta1/",
            "Accounts": {
                ACCOUNT: {
                    **STORE,
                    "ServiceAccountFile": str(self.emulator.credentials / "service-account.json"),
                    **(account or {}),
                }
            },
            "Send": list(rules),
            **(section or {}),
        }
        self.orthanc = Orthanc(
            folder / "orthanc",
            {"GoogleCloudPlatform": self.configuration, **(orthanc or {})},
            plugins=(DICOMWEB,),
        )
        self.workers: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Site:
        self.orthanc.start()
        self.start_worker()
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self.workers):
            self.stop_worker(name)
        self.orthanc.stop()
        self.emulator.stop()
        assert not (found := taken_from_elsewhere(self.folder)), found

    # -- The worker -----------------------------------------------------------------------------

    def start_worker(self, name: str = "worker", **environment: str) -> None:
        command = [
            *(sys.executable, "-m", "orthanc_gcp", "worker"),
            *(str(self.orthanc.configuration_file), "--orthanc", self.orthanc.url),
            *("--name", name),
        ]
        if self._api_port is not None:
            command += ["--listen", f"127.0.0.1:{self._api_port}"]
            environment = {"ORTHANC_GCP_WORKER_SECRET": SECRET, **environment}
        environment = {**audited(self.folder), **environment}
        with self.log_file(name).open("ab") as log:
            self.workers[name] = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, **environment}
            )

    def stop_worker(self, name: str = "worker", wait: float = 20) -> int:
        process = self.workers.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(wait)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the worker does not stop:\n{self.log(name)}") from None

    def kill_worker(self, name: str = "worker") -> None:
        process = self.workers.pop(name)
        process.kill()
        process.wait()

    def log_file(self, name: str = "worker") -> Path:
        return self.folder / f"{name}.log"

    def log(self, name: str = "worker") -> str:
        return self.log_file(name).read_text(errors="replace")

    def api(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """A call of the worker's REST API: the status, and the answer's JSON."""
        headers = {"Authorization": f"Bearer {SECRET}"}
        with urllib3.PoolManager(retries=False, timeout=60) as http:
            answer = http.request(method, self.api_url(path), json=body, headers=headers)
            return answer.status, answer.json()

    def api_url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._api_port}{path}"

    def wait_for_api(self, wait: float = 30) -> None:
        def answers() -> bool:
            try:
                return self.api("GET", "/gcp/transfers")[0] == 200
            except urllib3.exceptions.HTTPError:
                return False

        wait_until(answers, wait, lambda: f"its API does not answer:\n{self.log()}")

    # -- What is in Orthanc, in the ledger, in the store ----------------------------------------

    def upload(self, content: bytes) -> str:
        return self.orthanc.json("POST", "/instances", content)["ID"]

    def engine(self) -> sql.Engine:
        url = self.configuration.get("Database", "")
        engine = database.connect(database.url_of(url, self.orthanc.folder / "storage"))
        database.make_private(engine)  # SQLite makes it where the worker has not done so yet
        return engine

    def rows(self) -> list[Any]:
        engine = self.engine()
        try:
            with engine.connect() as connection:
                return list(connection.execute(sql.select(transfers).order_by(transfers.c.id)))
        finally:
            engine.dispose()

    def wait_for_following(self, wait: float = 30) -> None:
        """Until the worker has begun to follow: it sends what comes from then on."""

        def following() -> bool:
            engine = self.engine()
            try:
                with engine.connect() as connection:
                    return connection.execute(sql.select(change_cursors)).first() is not None
            except sql.exc.DBAPIError:
                return False
            finally:
                engine.dispose()

        wait_until(following, wait, lambda: f"it does not follow:\n{self.log()}")

    def states(self) -> dict[str, int]:
        """How many instances are in each state; nothing while there is no ledger yet."""
        try:
            rows = self.rows()
        except sql.exc.DBAPIError:
            return {}
        counted: dict[str, int] = {}
        for row in rows:
            counted[row.state] = counted.get(row.state, 0) + 1
        return counted

    def wait_for(self, wait: float = 60, **states: int) -> None:
        """Until the ledger has so many instances in these states, and no others."""
        wait_until(
            lambda: self.states() == states,
            wait,
            lambda: f"{self.states()} is not {states}:\n{self.log()[-6000:]}",
        )

    def stored(self) -> dict[str, bytes]:
        """Every instance in the store by its SOP Instance UID, byte for byte."""
        found: dict[str, bytes] = {}
        offset = 0
        while True:
            path = f"/dicomWeb/instances?limit=1000&offset={offset}"
            answer = self.call("GET", path, Accept="application/dicom+json")
            page = json.loads(answer.data) if answer.status == 200 else []
            for entry in page:
                study, series, instance = (
                    entry[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018")
                )
                assert instance not in found, "an instance is there twice"
                found[instance] = self.stored_bytes(study, series, instance)
            if len(page) < 1000:
                return found
            offset += 1000

    def stored_bytes(self, study: str, series: str, instance: str) -> bytes:
        path = f"/dicomWeb/studies/{study}/series/{series}/instances/{instance}"
        answer = self.call("GET", path, Accept="application/dicom; transfer-syntax=*")
        assert answer.status == 200, answer.data
        return answer.data

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """A call of the store by its owner."""
        url = f"{self.emulator.url}/v1/{STORE_PATH}{path}"
        http = urllib3.PoolManager(retries=False)
        headers = {**self.emulator.bearer(), **headers}
        return http.request(method, url, body=body, headers=headers)


def make_instance(
    study: str = "",
    series: str = "",
    instance: str = "",
    *,
    size: int = 64,
    modality: str = "OT",
    patient: str = "P",
) -> bytes:
    """A small secondary capture of ``size`` x ``size`` random pixels."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = instance or generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID = study or generate_uid()
    dataset.SeriesInstanceUID = series or generate_uid()
    dataset.PatientID = patient
    dataset.PatientName = "Custody^Test"
    dataset.StudyDate = "20260101"
    dataset.Modality = modality
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows = dataset.Columns = size
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    dataset.PixelData = numpy.random.default_rng().bytes(size * size + size * size % 2)
    buffer = pydicom.filebase.DicomBytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def make_study(series: int = 1, instances: int = 10, **more: Any) -> list[bytes]:
    """The files of a study."""
    study = generate_uid()
    return [
        make_instance(study, uid, **more)
        for uid in (generate_uid() for _ in range(series))
        for _ in range(instances)
    ]
