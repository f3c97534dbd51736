"""The ``viewport`` of a rendering: its size, and the part of the image in it (PS3.18 8.3.5.1.3)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from PIL import Image

from orthanc_gcp.emulator.dicom.imaging_errors import ImagingError

__all__ = ["MAX_SIDE", "Viewport", "ViewportError"]

MAX_SIDE = 10_000
"""In pixels, of images and of viewports (Healthcare API, quotas and limits)."""

_NUMBER = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,9})?")


class ViewportError(ImagingError):
    """Not a viewport, or not one of this image."""


@dataclass(frozen=True)
class Viewport:
    """``width`` and ``height`` in pixels of the rendering.

    ``left``, ``top``, ``columns`` and ``rows`` are the part of the image that is shown, in its
    pixels; negative ``columns`` or ``rows`` mirror that part.
    """

    width: int
    height: int
    left: float = 0
    top: float = 0
    columns: float | None = None
    rows: float | None = None

    @classmethod
    def parse(cls, text: str) -> Viewport:
        """Parse ``vw,vh`` or ``vw,vh,sx,sy,sw,sh``, of which the last four may be empty.

        Raises :class:`ViewportError`.
        """
        pieces = text.split(",")
        if len(pieces) not in (2, 6) or not all(side.isdecimal() for side in pieces[:2]):
            raise ViewportError(f"Invalid viewport: {text}")
        width, height = (_number(side) or 0 for side in pieces[:2])
        left, top, columns, rows = (_number(piece) for piece in (pieces[2:] or [""] * 4))
        if not 0 < width <= MAX_SIDE or not 0 < height <= MAX_SIDE or 0 in (columns, rows):
            raise ViewportError(f"Invalid viewport: {text}")
        return cls(int(width), int(height), left or 0, top or 0, columns, rows)

    def show(self, image: Image.Image) -> Image.Image:
        """Return the part of an image, as large as it can be in its proportions.

        Raises :class:`ViewportError` when the part reaches beyond the image.
        """
        columns = self.columns or image.width - self.left
        rows = self.rows or image.height - self.top
        box = (self.left, self.top, self.left + abs(columns), self.top + abs(rows))
        if min(self.left, self.top) < 0 or box[2] > image.width or box[3] > image.height:
            raise ViewportError("the viewport shows a region outside of the image")
        if box[0] >= box[2] or box[1] >= box[3]:
            raise ViewportError("the viewport shows a region outside of the image")
        scale = min(self.width / abs(columns), self.height / abs(rows))
        size = (max(1, round(abs(columns) * scale)), max(1, round(abs(rows) * scale)))
        shown = image.resize(size, Image.Resampling.BICUBIC, box)
        if columns < 0:
            shown = shown.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return shown.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if rows < 0 else shown


def _number(text: str) -> float | None:
    if not text:
        return None
    if not _NUMBER.fullmatch(text):
        raise ViewportError(f"Invalid viewport: {text}")
    return float(text)
