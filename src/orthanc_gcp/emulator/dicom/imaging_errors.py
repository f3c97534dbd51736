"""What goes wrong with images."""

from orthanc_gcp.emulator.dicom.reader import InvalidDicomError

__all__ = ["ImagingError", "reason_of"]


class ImagingError(Exception):
    """An image is not there, or cannot be had in the way that was asked for."""


def reason_of(error: Exception) -> str:
    """Return why an image cannot be had, to be put behind a sentence.

    What libraries say may hold values of the image, paths of this machine, or pages of text: of
    their errors there is only the kind.
    """
    if isinstance(error, ImagingError | InvalidDicomError):
        return f": {error}"
    if isinstance(error, MemoryError):
        return ": it takes too much memory"
    return f" ({type(error).__name__})"
