"""A stand-in for Google's OAuth 2.0 token endpoint and for DICOM stores of its Healthcare API.

Importing the package is cheap; :class:`orthanc_gcp.emulator.server.Emulator` runs it inside a
program, ``orthanc-gcp emulator`` or ``python -m orthanc_gcp.emulator`` as a process.
"""

from __future__ import annotations

__all__: list[str] = []
