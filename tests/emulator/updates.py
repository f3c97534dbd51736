"""Updates, PUT of v1beta1, and instances for them under the same UIDs."""

from __future__ import annotations

import secrets
from typing import Any

from pydicom.uid import generate_uid

from tests.emulator.client import (
    DICOM_JSON,
    MULTIPART,
    Client,
    make_dicom,
    multipart,
)


def versions(count: int) -> list[bytes]:
    """Return several instances under the same UIDs."""
    uids = {
        name: generate_uid() for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    }
    return [make_dicom(PatientName=f"Version^{n}", **uids) for n in range(count)]


def put(client: Client, *files: bytes, path: str = "/studies", accept: str = DICOM_JSON) -> Any:
    boundary = secrets.token_hex(16)
    return client.request(
        "PUT",
        client.web.replace("/v1/", "/v1beta1/") + path,
        multipart(files, boundary),
        content_type=f"{MULTIPART}; boundary={boundary}",
        accept=accept,
    )
