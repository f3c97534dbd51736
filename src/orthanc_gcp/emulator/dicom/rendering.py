"""Images made of decoded frames: their values as they are, or rendered for display.

Sources: DICOM PS3.3 sections C.7.6.3 (image pixel), C.11.1 (modality LUT), C.11.2 (VOI LUT),
C.7.6.16.2 (macros of functional groups).

It runs in the imaging process only: see :mod:`orthanc_gcp.emulator.dicom.imaging_process`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image
from pydicom import Dataset
from pydicom.pixels.processing import (
    apply_color_lut,
    apply_modality_lut,
    apply_voi,
    apply_windowing,
)

from orthanc_gcp.emulator.dicom.decoding import Raster
from orthanc_gcp.emulator.dicom.imaging_errors import ImagingError, reason_of

__all__ = ["RenderingError", "render", "to_png"]

STRIP = 1_000_000
"""How many pixels are in floating point at a time."""

Display = Callable[[np.ndarray], np.ndarray]
"""Makes values between 0 and 1 of the output of the modality LUT."""


class RenderingError(ImagingError):
    """The image is of a kind that is not rendered."""


def to_png(raster: Raster, header: Dataset) -> bytes:
    """Return a frame as PNG, its values without loss; indices of a palette become its colours.

    Raises :class:`RenderingError` where PNG has no such samples.
    """
    pixels = raster.pixels
    if raster.description["photometric_interpretation"] == "PALETTE COLOR":
        pixels = _palette_colours(raster, header)
    depth = pixels.dtype.itemsize
    if pixels.dtype.kind == "f" or depth > 2 or (pixels.ndim == 3 and depth > 1):
        raise RenderingError("PNG is for grayscale of up to 16 bits, and for colours of 8 bits")
    buffer = io.BytesIO()
    unsigned = pixels.astype(pixels.dtype.newbyteorder("="), copy=False).view(f"u{depth}")
    Image.fromarray(unsigned).save(buffer, "PNG")
    return buffer.getvalue()


def render(raster: Raster, header: Dataset, number: int) -> Image.Image:
    """Return a frame in grayscale or RGB of 8 bits, windowed as its instance says.

    Frames are counted from 1. Raises :class:`RenderingError`.
    """
    kind = raster.description["photometric_interpretation"]
    try:
        if kind in ("MONOCHROME1", "MONOCHROME2"):
            gray = _grayscale(raster.pixels, _transformation(header, number))
            return Image.fromarray(255 - gray if kind == "MONOCHROME1" else gray)
        if kind == "PALETTE COLOR":
            return Image.fromarray(_palette_colours(raster, header))
        if kind == "RGB":
            bits = int(raster.description["bits_stored"])
            return Image.fromarray(_eight_bits(raster.pixels, bits))
    except Exception as error:
        # pydicom may raise anything about look-up tables and windows.
        raise RenderingError(f"the image cannot be rendered{reason_of(error)}") from error
    raise RenderingError(f"the image cannot be rendered: its colours are {kind}")


def _palette_colours(raster: Raster, header: Dataset) -> np.ndarray:
    colours = apply_color_lut(raster.pixels, header)[..., :3]
    return _eight_bits(colours, colours.dtype.itemsize * 8)


def _eight_bits(pixels: np.ndarray, bits: int) -> np.ndarray:
    return (pixels >> max(bits - 8, 0)).astype(np.uint8)


def _transformation(header: Dataset, number: int) -> Dataset:
    """Return the attributes of the modality and VOI LUT of a frame."""
    result = header.group_dataset(0x0028)
    shared = header.get("SharedFunctionalGroupsSequence") or []
    per_frame = header.get("PerFrameFunctionalGroupsSequence") or []
    for group in (*shared[:1], *per_frame[number - 1 : number]):
        for keyword in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for item in group.get(keyword) or []:
                result.update(item)
    return result


def _grayscale(pixels: np.ndarray, transformation: Dataset) -> np.ndarray:
    display = _display(pixels, transformation)
    result = np.empty(pixels.shape, np.uint8)
    for rows in _strips(pixels):
        values = apply_modality_lut(pixels[rows], transformation)
        result[rows] = np.rint(np.clip(display(values), 0, 1) * 255)
    return result


def _strips(pixels: np.ndarray) -> Iterator[slice]:
    step = max(1, STRIP // pixels.shape[1])
    return (slice(start, start + step) for start in range(0, len(pixels), step))


def _display(pixels: np.ndarray, transformation: Dataset) -> Display:
    """Return the VOI LUT of an image: its table, its first window, or the whole range."""
    if transformation.get("VOILUTSequence"):
        top = 2 ** transformation.VOILUTSequence[0].LUTDescriptor[2] - 1
        return lambda values: apply_voi(np.rint(values).astype(np.int64), transformation) / top
    if transformation.get("WindowWidth") and transformation.get("WindowCenter") is not None:
        window = _window(transformation)
        return lambda values: apply_windowing(values, window) / 255
    low, high = _range(pixels, transformation)
    return lambda values: (values - low) / max(high - low, 1e-9)


def _window(transformation: Dataset) -> Dataset:
    """Return the window with 8 bits as the range of its output."""
    window = Dataset()
    window.PhotometricInterpretation = "MONOCHROME2"
    window.PixelRepresentation = 0
    window.BitsStored = 8
    for keyword in ("WindowCenter", "WindowWidth", "VOILUTFunction"):
        if transformation.get(keyword) is not None:
            setattr(window, keyword, transformation[keyword].value)
    return window


def _range(pixels: np.ndarray, transformation: Dataset) -> tuple[float, float]:
    """Return black and white without a window: of up to 8 bits all values, else those there are."""
    if transformation.BitsStored <= 8 and pixels.dtype.kind == "u":
        values = np.array([0, 2**transformation.BitsStored - 1], np.uint8)
        ends = [apply_modality_lut(values, transformation)]
    else:
        ends = [apply_modality_lut(pixels[rows], transformation) for rows in _strips(pixels)]
    return float(min(end.min() for end in ends)), float(max(end.max() for end in ends))
