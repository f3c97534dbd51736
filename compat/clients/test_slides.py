"""Clients of pathology open a tiled slide in the emulator: colours are those that were stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit

from compat.clients.conftest import difference
from compat.clients.environments import run_program
from compat.clients.slides import ICC_PROFILE, Slide
from orthanc_gcp.emulator.pytest_plugin import DicomStore

COMPRESSED = [{"syntax": JPEGBaseline8Bit}, {"syntax": JPEG2000Lossless}]
ALL = [*COMPRESSED, {"syntax": ExplicitVRLittleEndian}]
DECODER = 3
"""Decoders of JPEG differ in the last bits: sampled colours, inverse transforms."""
RECOMPRESSED = 25
"""What baseline JPEG of the store's own quality may change."""


@pytest.fixture
def wanted(dicom_store: DicomStore, slide: Slide) -> dict[str, Any]:
    return {
        "dicomweb": dicom_store.dicomweb_url,
        "token": dicom_store.token(),
        "credentials": str(dicom_store.credentials_file),
        "study": slide.study,
        "series": slide.series,
    }


def expect_levels(slide: Slide, folder: Path, tolerance: int = DECODER) -> None:
    for number, level in enumerate(slide.levels):
        read = np.load(folder / f"level-{number}.npy")
        assert difference(read, level.pixels) <= tolerance


@pytest.mark.parametrize("slide", COMPRESSED, indirect=True)
def test_wsidicom(slide, wanted, tmp_path):
    syntaxes = [slide.levels[0].dataset.file_meta.TransferSyntaxUID]
    facts = run_program("wsidicom_slide.py", {**wanted, "syntaxes": syntaxes}, tmp_path)
    assert facts["levels"] == 3
    assert bytes.fromhex(facts["tile"]) == slide.levels[0].tiles[7]
    expect_levels(slide, tmp_path)
    region = slide.levels[0].pixels[100:300, 200:500]
    assert difference(np.load(tmp_path / "region.npy"), region) <= DECODER


@pytest.mark.parametrize("slide", COMPRESSED[1:], indirect=True)
def test_wsidicom_takes_baseline_jpeg_wherever_it_can_be_had(slide, wanted, tmp_path):
    facts = run_program("wsidicom_slide.py", wanted, tmp_path)
    assert bytes.fromhex(facts["tile"]).startswith(b"\xff\xd8\xff")
    expect_levels(slide, tmp_path, RECOMPRESSED)


@pytest.mark.parametrize("slide", COMPRESSED, indirect=True)
def test_large_image(slide, wanted, tmp_path):
    facts = run_program("large_image_slide.py", wanted, tmp_path)
    assert (facts["sizeX"], facts["sizeY"], facts["tileWidth"]) == (1300, 900, 256)
    read = np.load(tmp_path / "level-0.npy")
    is_jpeg = slide.levels[0].dataset.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    tolerance = DECODER if is_jpeg else RECOMPRESSED
    assert difference(read, slide.levels[0].pixels) <= tolerance
    assert facts["patient"] == "SLIDE-1"


@pytest.mark.parametrize("slide", ALL, indirect=True)
def test_ez_wsi(slide, wanted, tmp_path):
    facts = run_program("ez_wsi_slide.py", wanted, tmp_path)
    assert facts["levels"] == 3
    assert facts["studies"] == [slide.study]
    assert facts["series"] == 3
    assert bytes.fromhex(facts["icc"]).rstrip(b"\0") == ICC_PROFILE.rstrip(b"\0")
    assert [bytes.fromhex(tile) for tile in facts["encoded"]] == slide.levels[0].tiles[:3]
    decoded = np.frombuffer(bytes.fromhex(facts["decoded"]), np.uint8).reshape(256, 256, 3)
    assert difference(decoded, slide.levels[0].pixels[:256, 256:512]) <= DECODER
    assert (tmp_path / "instance.dcm").read_bytes() == slide.levels[0].content
    expect_levels(slide, tmp_path)
    region = slide.levels[0].pixels[100:300, 200:500]
    for name in ("region.npy", "cached.npy"):
        assert difference(np.load(tmp_path / name), region) <= DECODER
