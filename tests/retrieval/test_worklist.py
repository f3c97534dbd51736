"""Entries of a worklist, in a folder that anybody may write into."""

from __future__ import annotations

import os
import zlib
from io import BytesIO

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from orthanc_gcp.retrieval import worklist
from orthanc_gcp.retrieval.worklist import UnreadableEntryError, WorklistFolder


def entry(patient="4711", modality="CT", **more):
    dataset, step = Dataset(), Dataset()
    step.Modality = modality
    dataset.PatientID, dataset.StudyInstanceUID = patient, "1.2.3"
    dataset.SpecificCharacterSet, dataset.PatientName = "ISO_IR 192", "山田^太郎"
    dataset.ScheduledProcedureStepSequence = Sequence([step])
    for name, value in more.items():
        setattr(dataset, name, value)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.file_meta = meta
    content = BytesIO()
    dcmwrite(content, dataset, enforce_file_format=True)
    return content.getvalue()


@pytest.fixture
def folder(tmp_path):
    return WorklistFolder(tmp_path)


def test_what_an_entry_says(folder, tmp_path):
    (tmp_path / "one.wl").write_bytes(entry(OtherPatientIDs=["a", "b"]))
    (tmp_path / "same.WL").write_bytes(entry(OtherPatientIDs=["a", "b"]))
    (tmp_path / "lockfile").write_bytes(b"")
    (digest,) = folder.entries()
    found = folder.attributes(digest)
    assert (found["0010,0020"], found["0008,0060"], found["0010,0010"]) == (
        *("4711", "CT", "山田^太郎"),
    )
    assert found["0010,1000"] == "a\\b"

    # One that was written anew is another one; one that has gone is none.
    (tmp_path / "one.wl").write_bytes(entry("4712"))
    assert len(folder.entries()) == 2
    (tmp_path / "same.WL").unlink()
    (other,) = folder.entries()
    assert other != digest
    with pytest.raises(KeyError):
        folder.attributes(digest)
    (tmp_path / "one.wl").write_bytes(entry("4713"))
    with pytest.raises(KeyError):
        folder.attributes(other)


def deflated():
    content = entry().replace(b"1.2.840.10008.1.2.1\0\0\0", b"1.2.840.10008.1.2.1.99")
    begin = content.index(b"\x08\0\x05\0")
    packer = zlib.compressobj(wbits=-15)
    return content[:begin] + packer.compress(content[begin:] + bytes(1 << 20)) + packer.flush()


@pytest.mark.parametrize(
    "content",
    [
        b"1.2.840.10008.1.2.1.99" + deflated(),
        os.urandom(5000),
        bytes(4000),
        entry()[:180],
        b"\x10\0\x20\0SQ\0\0\xff\xff\xff\xff"
        + b"\xfe\xff\0\xe0\xff\xff\xff\xff\x10\0\x20\0SQ\0\0\xff\xff\xff\xff" * 5000,
    ],
    ids=["deflated", "random", "zeros", "truncated", "nested"],
)
def test_hostile_entries(folder, tmp_path, content):
    (tmp_path / "bad.wl").write_bytes(content)
    (digest,) = folder.entries()
    try:
        found = folder.attributes(digest)
    except UnreadableEntryError as error:
        assert "4711" not in str(error)
    else:
        assert found.get("0010,0020", "") in ("", "4711")


def test_what_is_no_file_or_too_large(folder, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(worklist, "LARGEST_ENTRY", 2000)
    (tmp_path / "folder.wl").mkdir()
    os.mkfifo(tmp_path / "pipe.wl")
    (tmp_path / "empty.wl").write_bytes(b"")
    (tmp_path / "large.wl").write_bytes(bytes(2001))
    (tmp_path / "dangling.wl").symlink_to("nowhere")
    assert folder.entries() == []
    assert folder._read("pipe.wl") is None
    assert caplog.text == ""

    monkeypatch.setattr(worklist, "MOST_ENTRIES", 3)
    monkeypatch.setattr(worklist, "MOST_READ", 2)
    for number in range(5):
        (tmp_path / f"{number}.wl").write_bytes(entry(str(number)))
    assert [len(folder.entries()) for _ in range(3)] == [2, 3, 3]
    assert caplog.text.count("more than 3 entries") == 1
    assert WorklistFolder(tmp_path / "nowhere").entries() == []
    assert "No such file" in caplog.text
