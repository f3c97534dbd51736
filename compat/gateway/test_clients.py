"""Workstations before the gateway: dcmjs-dimse of npm, odil of Debian, pynetdicom's applications.

Each asks by its own program, and takes what it is sent by its own server. (Debian's gdcmscu aborts
at the end of an association with whatever peer, DCMTK and Orthanc too.)
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from compat import releases
from compat.clients.environments import PROGRAMS, run_program
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.emulator.client import make_dicom, read, sample
from tests.gateway.conftest import WORKSTATION
from tests.support.certificates import Authority
from tests.support.orthanc import Orthanc, free_port

STUDY, OTHER, INSTANCES = "1.2.3", "1.2.4", 30
NAME, LATIN = "Yamada^Tarou=山田^太郎=やまだ^たろう", "Müller^Jürgen"
FILES = [
    *(
        make_dicom(
            bytes([number, 255 - number]) * 2000,
            StudyInstanceUID=STUDY,
            SeriesInstanceUID=f"{STUDY}.1",
            SOPInstanceUID=f"{STUDY}.1.{number}",
            SpecificCharacterSet="ISO_IR 192",
            PatientName=NAME,
            PatientID="P1",
        )
        for number in range(1, INSTANCES + 1)
    ),
    make_dicom(
        StudyInstanceUID=OTHER,
        SOPInstanceUID=f"{OTHER}.1.1",
        SpecificCharacterSet="ISO_IR 192",
        PatientName=LATIN,
        PatientID="P2",
    ),
]


class Workstation(Protocol):
    """A client of some maker: what it asks, and what it says of the answer."""

    def echo(self) -> bool:
        """Whether C-ECHO is answered with success."""

    def find(self, patient_name: str) -> dict[str, str]:
        """The names of patients by their studies' UIDs."""

    def get(self, study: str, folder: Path) -> None:
        """Have a study sent by C-GET."""

    def move(self, study: str, folder: Path, port: int) -> None:
        """Have a study sent by C-MOVE to DEST, which it is itself, on a port."""

    def store(self, file: Path) -> None:
        """Store an instance."""


@dataclass(frozen=True)
class DcmjsDimse:
    """https://www.npmjs.com/package/dcmjs-dimse."""

    port: int
    place: Path

    def ask(self, service: str, folder: Path | None = None, **wanted: Any) -> dict[str, Any]:
        """What ``dimse.mjs`` has seen."""
        asked = {"service": service, "port": self.port, **wanted}
        facts = run_program("dimse.mjs", asked, folder or self.place)
        assert facts["problem"] is None
        return facts

    def echo(self) -> bool:
        return self.ask("echo")["statuses"] == [0]

    def find(self, patient_name: str) -> dict[str, str]:
        keys = {"PatientName": patient_name, "SpecificCharacterSet": "ISO_IR 192"}
        facts = self.ask("find", keys=keys)
        assert facts["statuses"] == [0xFF00] * len(facts["matches"]) + [0]
        return {
            one["StudyInstanceUID"]: "=".join(one["PatientName"][0].values())
            for one in facts["matches"]
        }

    def get(self, study: str, folder: Path) -> None:
        facts = self.ask("get", folder, study=study)
        assert (facts["statuses"][-1], facts["counts"][-1]) == (0, [INSTANCES, 0, 0])

    def move(self, study: str, folder: Path, port: int) -> None:
        facts = self.ask("move", folder, study=study, to="DEST", listen=port)
        assert (facts["statuses"][-1], facts["counts"][-1]) == (0, [INSTANCES, 0, 0])

    def store(self, file: Path) -> None:
        assert self.ask("store", file=str(file))["statuses"] == [0]


@dataclass(frozen=True)
class Odil:
    """https://odil.readthedocs.io, of Debian, in a folder of its own."""

    port: int
    root: Path

    def command(self, service: str, *arguments: str, more: Sequence[str] = ()) -> str:
        """What ``odil`` prints."""
        peer = ("127.0.0.1", str(self.port), "WORKSTATION", "GOOGLE")
        command = ("chroot", self.root, "odil", service, *more, *peer, *arguments)
        return releases.run(*command, timeout=120)

    def echo(self) -> bool:
        return "rror" not in self.command("echo")

    def find(self, patient_name: str) -> dict[str, str]:
        name, character_set = f"PatientName={patient_name}", "SpecificCharacterSet=ISO_IR 192"
        keys = (name, "StudyInstanceUID", character_set)
        printed = self.command("find", "study", "QueryRetrieveLevel=STUDY", *keys)
        values = dict[str, list[str]]()
        for line in printed.splitlines():
            for title in ("Patient's Name", "Study Instance UID"):
                if line.startswith(title):
                    values.setdefault(title, []).append(line.partition("['")[2][:-2])
        return dict(zip(values["Study Instance UID"], values["Patient's Name"], strict=True))

    def get(self, study: str, folder: Path) -> None:
        keys = ("study", "QueryRetrieveLevel=STUDY", f"StudyInstanceUID={study}")
        printed = self.command("get", *keys, more=("--directory", str(folder)))
        assert f"Completed: {INSTANCES}" in printed
        assert "failed: 0, warning: 0" in printed

    def move(self, study: str, folder: Path, port: int) -> None:
        asked = {"port": self.port, "listen": port, "folder": str(folder)}
        program = (PROGRAMS / "odil_move.py").read_text()
        done = subprocess.run(
            ["chroot", self.root, "/usr/bin/python3", "-c", program],
            input=json.dumps({**asked, "study": study, "to": "DEST"}),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        facts = json.loads(done.stdout)
        assert (facts["responses"][-1], facts["received"]) == ([0, INSTANCES], 0), done.stderr

    def store(self, file: Path) -> None:
        assert not self.command("store", str(file))


@dataclass(frozen=True)
class Applications:
    """``python -m pynetdicom`` findscu and others."""

    port: int
    place: Path

    def run(self, name: str, *arguments: str, folder: Path | None = None) -> str:
        """What an application says."""
        peer = ("-v", "-aet", "WORKSTATION", "-aec", "GOOGLE", "127.0.0.1", str(self.port))
        done = subprocess.run(
            [sys.executable, "-m", "pynetdicom", name, *peer, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=folder or self.place,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def echo(self) -> bool:
        return "Received Echo Response (Status: 0x0000 - Success)" in self.run("echoscu")

    def find(self, patient_name: str) -> dict[str, str]:
        keys = Dataset()
        keys.SpecificCharacterSet = "ISO_IR 192"
        keys.QueryRetrieveLevel, keys.StudyInstanceUID = "STUDY", ""
        keys.PatientName = patient_name
        keys.save_as(self.place / "keys.dcm", implicit_vr=True, little_endian=True)
        for file in self.place.glob("rsp*.dcm"):
            file.unlink()
        self.run("findscu", "-S", "-w", "-f", "keys.dcm")
        found = [pydicom.dcmread(file, force=True) for file in self.place.glob("rsp*.dcm")]
        return {one.StudyInstanceUID: str(one.PatientName) for one in found}

    def get(self, study: str, folder: Path) -> None:
        self.retrieve("getscu", study, folder)

    def move(self, study: str, folder: Path, port: int) -> None:
        listen = ("-aem", "DEST", "--store", "--store-port", str(port))
        self.retrieve("movescu", study, folder, *listen)

    def retrieve(self, name: str, study: str, folder: Path, *more: str) -> None:
        keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}")
        said = self.run(name, "-S", *keys, *more, "-od", ".", folder=folder)
        assert f"Completed: {INSTANCES}, Failed: 0, Warning: 0" in said

    def store(self, file: Path) -> None:
        assert "(Status: 0x0000 - Success)" in self.run("storescu", str(file))


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with Orthanc(tmp_path_factory.mktemp("orthanc"), {}, plugins=()) as running:
        yield running


@pytest.fixture
def destination() -> int:
    return free_port()


@pytest.fixture
def port(start, client, orthanc, destination) -> int:
    """Where a gateway listens, before a store with two studies."""
    assert client.store(*FILES).status == 200
    modalities = {**WORKSTATION, "dest": ["DEST", "127.0.0.1", destination]}
    return start(rest=OrthancRest(orthanc.url), DicomModalities=modalities).port


@pytest.fixture(params=["dcmjs-dimse", "odil", "pynetdicom"])
def workstation(request, port, tmp_path) -> Iterator[Workstation]:
    if request.param == "dcmjs-dimse":
        yield DcmjsDimse(port, tmp_path)
        return
    if request.param == "pynetdicom":
        yield Applications(port, tmp_path)
        return
    root = releases.make_release("bookworm")
    if not (root / "usr/bin/odil").exists():
        releases.install(root, "odil")
    with releases.shared_folder(root, tmp_path):
        yield Odil(port, root)


@pytest.fixture
def folder(tmp_path) -> Path:
    """What is received is there."""
    made = tmp_path / "received"
    made.mkdir()
    return made


def same_but_for_lengths(file: Path, stored: bytes) -> bool:
    """Whether all attributes are the same; each client writes files in its own way."""
    received, own = pydicom.dcmread(file, force=True), read(stored)

    def content(dataset: Dataset) -> dict[str, Any]:
        return {str(one.tag): str(one.value) for one in dataset if one.tag.element}

    return content(received) == content(own)


def all_received(folder: Path) -> None:
    files = list(folder.iterdir())
    assert len(files) == INSTANCES
    stored = {str(read(one).SOPInstanceUID): one for one in FILES[:INSTANCES]}
    for file in files:
        uid = str(pydicom.dcmread(file).SOPInstanceUID)
        assert same_but_for_lengths(file, stored.pop(uid))


def test_echo(workstation):
    assert workstation.echo()


def test_find(workstation):
    assert workstation.find("") == {STUDY: NAME, OTHER: LATIN}
    assert workstation.find("yama*") == {STUDY: NAME}
    assert workstation.find("Müller*") == {OTHER: LATIN}


def test_get(workstation, folder):
    workstation.get(STUDY, folder)
    all_received(folder)


def test_move(workstation, folder, destination):
    workstation.move(STUDY, folder, destination)
    all_received(folder)


def test_store(workstation, orthanc, tmp_path):
    content = make_dicom(b"\1\2" * 100_000, SOPInstanceUID=generate_uid(), PatientName="Doe^J")
    file = tmp_path / "one.dcm"
    file.write_bytes(content)
    workstation.store(file)
    uid = str(read(content).SOPInstanceUID)
    (found,) = orthanc.json("POST", "/tools/lookup", uid.encode())
    received = tmp_path / "received.dcm"
    received.write_bytes(orthanc.request("GET", f"/instances/{found['ID']}/file").data)
    assert same_but_for_lengths(received, content)


# -- What only one of them can do -----------------------------------------------------------------


@pytest.fixture
def dcmjs(port, tmp_path) -> DcmjsDimse:
    return DcmjsDimse(port, tmp_path)


def test_a_find_that_is_cancelled(dcmjs, client):
    for number in range(60):
        assert client.store(make_dicom(StudyInstanceUID=f"1.9.{number}")).status == 200
    facts = dcmjs.ask("find", keys={"ModalitiesInStudy": ""}, cancelAfter=1)
    assert facts["statuses"][-1] == 0xFE00
    assert len(facts["matches"]) < 62


def test_what_it_negotiates_is_no_obstacle(dcmjs):
    options = {
        "asyncOps": {"maxAsyncOpsInvoked": 5, "maxAsyncOpsPerformed": 5},
        "userIdentity": {
            "type": 2,
            "positiveResponseRequested": True,
            "primaryField": "USER",
            "secondaryField": "SECRET",
        },
    }
    facts = dcmjs.ask("find", keys={"PatientID": "P1"}, options=options)
    assert [one["StudyInstanceUID"] for one in facts["matches"]] == [STUDY]


def test_tls(start, client, tmp_path, destination):
    """Both ways: it asks by TLS, and so do we where it is the destination."""
    assert client.store(*FILES).status == 200
    authority = Authority(tmp_path)
    certificate, key = authority.issue("127.0.0.1")
    modality = {"AET": "DEST", "Host": "127.0.0.1", "Port": destination, "UseDicomTls": True}
    running = start(
        DicomModalities={**WORKSTATION, "dest": modality},
        DicomTlsEnabled=True,
        DicomTlsCertificate=str(certificate),
        DicomTlsPrivateKey=str(key),
        DicomTlsTrustedCertificates=str(authority.file),
    )
    secured = {
        "securityOptions": {
            "key": key.read_text(),
            "cert": certificate.read_text(),
            "ca": authority.file.read_text(),
            "requestCert": True,
            "rejectUnauthorized": True,
        }
    }
    workstation = DcmjsDimse(running.port, tmp_path)
    facts = workstation.ask("find", keys={"PatientID": "P1"}, options=secured)
    assert [one["StudyInstanceUID"] for one in facts["matches"]] == [STUDY]
    facts = workstation.ask("move", study=STUDY, to="DEST", listen=destination, options=secured)
    assert (facts["statuses"][-1], facts["counts"][-1]) == (0, [INSTANCES, 0, 0])


def test_a_stranger_is_told_that_it_may_not(start, client, tmp_path):
    facts = DcmjsDimse(start(DicomModalities={}).port, tmp_path).ask("find", keys={})
    assert (facts["statuses"], facts["comments"]) == ([0x0124], ["this AE title may not search"])


def test_a_compressed_instance_comes_as_it_can_be_read(dcmjs, client, folder):
    """dcmjs-dimse proposes what is uncompressed only: the store transcodes."""
    content = sample("JPEG2000.dcm")
    assert read(content).file_meta.TransferSyntaxUID == JPEG2000
    assert client.store(content).status == 200
    facts = dcmjs.ask("get", folder, study=str(read(content).StudyInstanceUID))
    assert (facts["statuses"][-1], facts["counts"][-1]) == (0, [1, 0, 0])
    (one,) = facts["received"]
    assert one["syntax"] in {ExplicitVRLittleEndian, ImplicitVRLittleEndian}
