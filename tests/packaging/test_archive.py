"""Archives of the same files are the same bytes."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

from artefacts.archive import pack

EPOCH = 1_700_000_000


def folder(place: Path, names: list[str]) -> Path:
    made = place / "orthanc-gcp-1"
    for name in names:
        file = made / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    (made / "run").chmod(0o700)
    return made


def test_the_same_files_are_the_same_bytes(tmp_path):
    names = ["b", "a/x", "run", "ü"]
    one = pack(folder(tmp_path / "one", names), tmp_path / "one.zip", EPOCH)
    other = pack(folder(tmp_path / "other", names[::-1]), tmp_path / "other.zip", EPOCH)
    assert one.read_bytes() == other.read_bytes()
    with zipfile.ZipFile(one) as archive:
        assert archive.namelist() == [f"orthanc-gcp-1/{name}" for name in sorted(names)]
        assert {info.date_time for info in archive.infolist()} == {(2023, 11, 14, 22, 13, 20)}


def test_what_runs_runs_when_it_is_unpacked(tmp_path):
    made = pack(folder(tmp_path, ["a", "run"]), tmp_path / "made.zip", EPOCH)
    with zipfile.ZipFile(made) as archive:
        modes = {info.filename: oct(info.external_attr >> 16) for info in archive.infolist()}
    assert modes == {"orthanc-gcp-1/a": "0o100644", "orthanc-gcp-1/run": "0o100755"}
    subprocess.run(["/usr/bin/python3", "-m", "zipfile", "-e", made, tmp_path / "to"], check=True)
    assert (tmp_path / "to" / "orthanc-gcp-1" / "a").read_text() == "a"
