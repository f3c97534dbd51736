"""What goes wrong with images."""

__all__ = ["ImagingError"]


class ImagingError(Exception):
    """An image is not there, or cannot be had in the way that was asked for."""
