"""C-STORE: what workstations store is in Orthanc, byte for byte, or it is refused."""

from __future__ import annotations

import io
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom.ae import ApplicationEntity
from pynetdicom.dimse_primitives import C_STORE

from orthanc_gcp.gateway import store
from orthanc_gcp.gateway.commitment import service
from orthanc_gcp.gateway.store import STORAGE_CLASSES, TRANSFER_SYNTAXES
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.emulator.client import make_dicom, sample
from tests.gateway.commitment.modality import Modality, failures, information
from tests.gateway.scu import run
from tests.support.orthanc import Orthanc, free_port, wait_until

SECONDARY, EXPLICIT, IMPLICIT = (
    "1.2.840.10008.5.1.4.1.1.7",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2",
)


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    options = {"MaximumStorageSize": 0, "OverwriteInstances": False}
    with Orthanc(tmp_path_factory.mktemp("orthanc"), options, plugins=()) as running:
        yield running


@pytest.fixture
def gateway(start, orthanc):
    """Makes a gateway in front of that Orthanc."""

    def make(**options):
        return start(rest=OrthancRest(orthanc.url), **options).port

    return make


def associate(port, *contexts, calling="WORKSTATION"):
    entity = ApplicationEntity(ae_title=calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
    for abstract, syntaxes in contexts or [(SECONDARY, EXPLICIT)]:
        entity.add_requested_context(abstract, syntaxes)
    association = entity.associate("127.0.0.1", port, ae_title="GOOGLE")
    assert association.is_established
    return association


def send(port, *files, **options):
    """The statuses of C-STOREs, each of a file."""
    datasets = [pydicom.dcmread(io.BytesIO(file)) for file in files]
    contexts = dict.fromkeys((one.SOPClassUID, one.file_meta.TransferSyntaxUID) for one in datasets)
    association = associate(port, *contexts, **options)
    try:
        return [association.send_c_store(one).get("Status") for one in datasets]
    finally:
        association.release()


def in_orthanc(orthanc, uid):
    """The file of an instance in Orthanc."""
    found = orthanc.json("POST", "/tools/lookup", uid.encode())
    if not found:
        return None
    return orthanc.request("GET", f"/instances/{found[0]['ID']}/file").data


def test_storescu(gateway, orthanc, tmp_path):
    """DCMTK's program; the second time, Orthanc has it already."""
    port = gateway()
    for name, option in (("CT_small.dcm", "-xe"), ("SC_rgb_jpeg_dcmtk.dcm", "-xy")):
        file = tmp_path / name
        file.write_bytes(sample(name))
        for _ in range(2):
            code, said = run("storescu", port, option, str(file))
            assert code == 0, said
            assert "Received Store Response (Success)" in said
        sent = pydicom.dcmread(file)
        stored = pydicom.dcmread(io.BytesIO(in_orthanc(orthanc, sent.SOPInstanceUID)))
        assert stored.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
        assert stored.file_meta.SourceApplicationEntityTitle == "WORKSTATION"
        assert stored.file_meta.SendingApplicationEntityTitle == "WORKSTATION"
        assert stored.file_meta.ReceivingApplicationEntityTitle == "GOOGLE"
        assert stored.PixelData == sent.PixelData


def test_syntaxes_that_are_not_often_seen(gateway, orthanc):
    port = gateway()
    for name in ("MR_small_bigendian.dcm", "image_dfl.dcm", "SC_rgb_rle.dcm"):
        file = sample(name)
        sent = pydicom.dcmread(io.BytesIO(file))
        assert send(port, file) == [0]
        stored = pydicom.dcmread(io.BytesIO(in_orthanc(orthanc, sent.SOPInstanceUID)))
        assert stored.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
        assert stored.PixelData == sent.PixelData


def test_a_large_instance_and_many_at_once(gateway, orthanc):
    port = gateway()
    large = make_dicom(bytes(5_000_000))
    some = [[make_dicom() for _ in range(4)] for _ in range(6)]
    with ThreadPoolExecutor(7) as pool:
        done = list(pool.map(lambda files: send(port, *files), [[large], *some]))
    assert {status for one in done for status in one} == {0}
    uid = pydicom.dcmread(io.BytesIO(large)).SOPInstanceUID
    assert len(in_orthanc(orthanc, uid)) > 5_000_000


def test_what_is_offered(gateway):
    """All storage classes, retired ones too, and each syntax by itself."""
    assert {SECONDARY, "1.2.840.10008.5.1.4.1.1.6", "1.2.840.10008.5.1.4.38.1"} <= STORAGE_CLASSES
    assert not any(one.startswith("1.2.840.10008.1.20") for one in STORAGE_CLASSES)
    port = gateway()
    contexts = [(SECONDARY, syntax) for syntax in TRANSFER_SYNTAXES]
    contexts += [(one, [IMPLICIT, EXPLICIT]) for one in sorted(STORAGE_CLASSES)][
        : 128 - len(contexts)
    ]
    association = associate(port, *contexts)
    assert len(association.accepted_contexts) == len(contexts)
    assert {one.transfer_syntax[0] for one in association.accepted_contexts[-5:]} == {EXPLICIT}
    association.release()


def data_set(**changes):
    dataset = pydicom.dcmread(io.BytesIO(make_dicom()))
    for name, value in changes.items():
        setattr(dataset, name, value)
    return dataset


def store_as(port, dataset, uid, sop_class=SECONDARY):
    """A C-STORE of a data set as another instance than it is."""
    association = associate(port, (sop_class, EXPLICIT))
    inner = Dataset()
    inner.update(dataset)
    inner.file_meta = dataset.file_meta
    encoded = io.BytesIO()
    pydicom.dcmwrite(encoded, inner, implicit_vr=False, little_endian=True)
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, uid
    request.DataSet = encoded
    association._reactor_checkpoint.clear()
    association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
    _, response = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    association.release()
    return response.Status


def test_what_is_another_instance_or_none(gateway, orthanc):
    port, dataset, other = gateway(), data_set(), generate_uid()
    assert store_as(port, dataset, other) == store.DOES_NOT_MATCH
    assert store_as(port, dataset, dataset.SOPInstanceUID, "1.2.840.10008.5.1.4.1.1.2") == (
        store.DOES_NOT_MATCH
    )
    broken = data_set()
    del broken.StudyInstanceUID, broken.SeriesInstanceUID, broken.PatientID, broken.SOPInstanceUID
    assert store_as(port, broken, other) == store.CANNOT_UNDERSTAND
    assert in_orthanc(orthanc, other) is None


def test_an_orthanc_that_is_away_or_has_another_password(start):
    rest = OrthancRest(f"http://127.0.0.1:{free_port()}/")
    assert send(start(rest=rest).port, make_dicom()) == [store.OUT_OF_RESOURCES]


@pytest.mark.parametrize(
    ("options", "calling", "status"),
    [
        ({}, "STRANGER", 0),
        ({"DicomAlwaysAllowStore": False}, "STRANGER", 0x0124),
        ({"DicomAlwaysAllowStore": False}, "WORKSTATION", 0),
        (
            {
                "DicomAlwaysAllowStore": False,
                "DicomModalities": {
                    "w": {"AET": "WORKSTATION", "Host": "h", "Port": 1, "AllowStore": False}
                },
            },
            "WORKSTATION",
            0x0124,
        ),
    ],
)
def test_who_may_store(gateway, options, calling, status):
    assert send(gateway(**options), make_dicom(), calling=calling) == [status]


def test_without_an_orthanc_it_is_not_offered(start):
    association = ApplicationEntity(ae_title="WORKSTATION")
    association.add_requested_context(SECONDARY, [EXPLICIT])
    made = association.associate("127.0.0.1", start().port, ae_title="GOOGLE")
    assert not made.accepted_contexts
    if made.is_established:
        made.release()


def test_peers_that_break_off_leave_nothing(gateway):
    port = gateway()
    association = associate(port)
    big = data_set()
    big.PixelData = bytes(3_000_000)
    own = association.dul.socket.socket
    stopper = threading.Timer(0.02, own.shutdown, [socket.SHUT_RDWR])
    stopper.start()
    with suppress(RuntimeError):  # it was aborted before
        association.send_c_store(big)
    stopper.join()
    association.join(20)
    assert send(port, make_dicom()) == [0]


def test_storage_commitment_waits_for_what_orthanc_has(start, orthanc, tmp_path, monkeypatch):
    monkeypatch.setattr(service, "FIRST_LOOK", 0.1)
    orthanc.json("POST", "/instances", make_dicom(SOPInstanceUID="1.3"))
    modality = Modality()
    modality.listen()
    known = {"m": ["MODALITY", "127.0.0.1", modality.port]}
    options = {"DicomModalities": known, "StorageDirectory": str(tmp_path)}
    running = start({"CommitmentTimeoutSeconds": 1}, OrthancRest(orthanc.url), **options)
    assert modality.ask(running.port, information("9.1", "1.3", "1.4")) == 0

    def failed():
        oldest = running.gateway.status().commitments.oldest
        return oldest and oldest[0].counts.get("failed")

    wait_until(lambda: failed() == 1)
    assert modality.reports == []
    ((_, report, _),) = modality.wait_for_reports()
    assert failures(report) == {"1.3": 0x0112, "1.4": 0x0112}
    modality.stop()


@pytest.mark.parametrize(
    ("status", "answer", "wanted"),
    [
        (200, {"Status": "Success"}, 0),
        (200, {"Status": "AlreadyStored"}, 0),
        (200, {"Status": "FilteredOut"}, store.CANNOT_UNDERSTAND),
        (200, None, store.CANNOT_UNDERSTAND),
        (200, [{"Status": "Success"}], store.CANNOT_UNDERSTAND),
        (400, {}, store.CANNOT_UNDERSTAND),
        (403, None, store.CANNOT_UNDERSTAND),
        (500, {}, store.OUT_OF_RESOURCES),
        (507, {}, store.OUT_OF_RESOURCES),
    ],
)
def test_what_orthanc_answers(status, answer, wanted):
    assert store._judged(status, answer)[0] == wanted
