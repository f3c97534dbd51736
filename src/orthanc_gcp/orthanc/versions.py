"""The version of an Orthanc or of a plugin, as it reports itself."""

from __future__ import annotations

import re

__all__ = ["MAINLINE", "parse_version"]

MAINLINE = (999_999,)
"""What is built from the development branch calls itself ``mainline``: newer than any release."""


def parse_version(text: str) -> tuple[int, ...] | None:
    """The numbers of a version, to be compared with those of another.

    Parameters
    ----------
    text
        What ``/system`` and ``/plugins/{name}`` answer as ``Version``, or ``Orthanc --version``
        prints: ``1.12.7``, ``mainline``; with what a distribution adds, ``1.10.1+dfsg``.

    Returns
    -------
    tuple of int or None
        None where the text has no version.
    """
    if text.startswith("mainline"):
        return MAINLINE
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, found[0].split("."))) if found else None
