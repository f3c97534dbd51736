"""Files of pydicom, one of each kind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from pydicom.data import get_testdata_file

from orthanc_gcp.emulator.dicom.reader import (
    DicomFile,
    FileSource,
)

# One of each kind: transfer syntaxes, nested and undefined sequences, character sets, modalities.
FILES = [
    "693_J2KI.dcm",
    "CT_small.dcm",
    "ExplVR_BigEnd.dcm",
    "J2K_pixelrep_mismatch.dcm",
    "JPEG2000-embedded-sequence-delimiter.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "UN_sequence.dcm",
    "examples_overlay.dcm",
    "examples_palette.dcm",
    "image_dfl.dcm",
    "liver_1frame.dcm",
    "liver_expb_1frame.dcm",
    "reportsi.dcm",
    "rtdose.dcm",
    "rtplan.dcm",
    "test-SR.dcm",
    "waveform_ecg.dcm",
]


@contextmanager
def opened(name: str) -> Iterator[DicomFile]:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield DicomFile(FileSource(descriptor))
    finally:
        os.close(descriptor)
