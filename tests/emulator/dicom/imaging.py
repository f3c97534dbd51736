"""The imaging processes of a test, and images of every codec for them."""

from __future__ import annotations

import io
import re
import time
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import psutil
from pydicom import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import pixel_array
from pydicom.uid import UID, generate_uid

from tests.emulator.client import read, sample

_PREFIX = "1.2.840.10008.1.2."
_SAMPLES = {
    "4.50": "SC_rgb_jpeg_lossy_gdcm.dcm",
    "4.51": "JPGExtended.dcm",
    "4.57": "SC_rgb_jpeg_gdcm.dcm",
    "4.70": "SC_rgb_jpeg_gdcm.dcm",
    "4.80": "MR_small_jpeg_ls_lossless.dcm",
    "4.81": "JPEGLSNearLossless_16.dcm",
    "4.90": "MR_small_jp2klossless.dcm",
    "4.91": "GDCMJ2K_TextGBR.dcm",
    "4.201": "MR_small_jp2klossless.dcm",
    "4.202": "MR_small_jp2klossless.dcm",
    "4.203": "GDCMJ2K_TextGBR.dcm",
    "5": "SC_rgb_rle_2frame.dcm",
}
"""By the end of the transfer syntax; OpenJPEG looks at the stream to tell HTJ2K from JPEG 2000."""
DECODED = [*_SAMPLES, "8.1"]
MAX_MEMORY = 400_000_000
"""Bytes that an imaging process may take for a small image, its libraries included."""


@cache
def compressed(suffix: str) -> tuple[bytes, np.ndarray]:
    """Return a file in a transfer syntax, and the first frame that pydicom decodes it to."""
    if suffix == "8.1":
        return _deflated_frames()
    dataset = _with_uids(read(sample(_SAMPLES[suffix])))
    pixels = pixel_array(dataset, index=0)
    dataset.file_meta.TransferSyntaxUID = UID(_PREFIX + suffix)
    return written(dataset), pixels


def written(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, implicit_vr=False, little_endian=True, force_encoding=True)
    return buffer.getvalue()


def with_stream(content: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Return a file whose first frame is changed; it is the only one then."""
    dataset = read(content)
    count = int(dataset.get("NumberOfFrames") or 1)
    stream = next(generate_frames(dataset.PixelData, number_of_frames=count))
    dataset.PixelData, dataset.NumberOfFrames = encapsulate([change(stream)]), 1
    dataset["PixelData"].is_undefined_length = True
    return written(dataset)


def imaging_processes(parent: int | None = None) -> set[psutil.Process]:
    """Return the imaging processes of a process, or of this one."""
    found = set()
    for process in psutil.Process(parent).children():
        try:
            if any(word.endswith("imaging_process") for word in process.cmdline()):
                found.add(process)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


def peak_of_imaging() -> int:
    """Return how many bytes the largest imaging process of this one has ever had in memory."""
    found = [Path(f"/proc/{one.pid}/status").read_text() for one in imaging_processes()]
    sizes = [int(re.findall(r"VmHWM:\s+(\d+) kB", text)[0]) for text in found]
    return max(sizes) * 1024


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _with_uids(dataset: Dataset) -> Dataset:
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        if keyword not in dataset:
            setattr(dataset, keyword, generate_uid())
    return dataset


def _deflated_frames() -> tuple[bytes, np.ndarray]:
    dataset = read(sample("MR_small.dcm"))
    pixels = dataset.pixel_array
    deflate = zlib.compressobj(wbits=-15)
    dataset.PixelData = encapsulate([deflate.compress(dataset.PixelData) + deflate.flush()])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = UID(_PREFIX + "8.1")
    return written(dataset), pixels
