"""Updates, PUT of v1beta1, and instances for them under the same UIDs."""

from __future__ import annotations

import secrets
from itertools import cycle, islice
from typing import Any

from pydicom.uid import generate_uid

from tests.emulator.client import (
    DICOM_JSON,
    MULTIPART,
    Client,
    make_dicom,
    multipart,
)


def versions(count: int, *sizes: int) -> list[bytes]:
    """Return several instances under the same UIDs; ``sizes`` are those of their pixels in turn."""
    uids = {
        name: generate_uid() for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    }
    pixels = islice(cycle(map(bytes, sizes or [2])), count)
    return [make_dicom(p, PatientName=f"Version^{n}", **uids) for n, p in enumerate(pixels)]


def put(client: Client, *files: bytes, path: str = "/studies", accept: str = DICOM_JSON) -> Any:
    boundary = secrets.token_hex(16)
    return client.request(
        "PUT",
        client.web.replace("/v1/", "/v1beta1/") + path,
        multipart(files, boundary),
        content_type=f"{MULTIPART}; boundary={boundary}",
        accept=accept,
    )
