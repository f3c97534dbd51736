"""Store transactions of JSON metadata and bulk data, as clients send them."""

from __future__ import annotations

import json
import secrets
from typing import Any

from tests.emulator.client import DICOM_JSON, Client, read

EXPLICIT = "1.2.840.10008.1.2.1"


IMPLICIT = "1.2.840.10008.1.2"


JPEG_2000 = "1.2.840.10008.1.2.4.91"


OCTETS = "application/octet-stream"


def metadata(content: bytes, uri: str = "pixels", **changes: Any) -> dict[str, Any]:
    """Return what describes a file, with its pixel data elsewhere."""
    dataset = read(content)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    vr = dataset["PixelData"].VR
    model = {**dataset.file_meta.to_json_dict(), **dataset.to_json_dict()}
    model["7FE00010"] = {"vr": vr, "BulkDataURI": uri}
    model.pop("FFFCFFFC", None)
    return {**model, **changes}


def send(client: Client, parts: list[tuple[dict[str, str], bytes]]) -> Any:
    boundary = secrets.token_hex(16)
    body = b""
    for headers, content in parts:
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        body += f"--{boundary}\r\n{head}\r\n".encode() + content + b"\r\n"
    return client.request(
        "POST",
        "/studies",
        body + f"--{boundary}--\r\n".encode(),
        content_type=f'multipart/related; type="{DICOM_JSON}"; boundary={boundary}',
        accept=DICOM_JSON,
    )


def described(*models: dict[str, Any]) -> tuple[dict[str, str], bytes]:
    return {"Content-Type": DICOM_JSON}, json.dumps(models).encode()


def value(content: bytes, uri: str = "pixels", kind: str = OCTETS) -> tuple[dict[str, str], bytes]:
    return {"Content-Type": kind, "Content-Location": uri}, content
