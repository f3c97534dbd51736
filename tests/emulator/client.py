"""A DICOMweb client for the tests: urllib3, and tokens from google-auth."""

from __future__ import annotations

import copy
import io
import json
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import google.auth.transport.urllib3
import google.oauth2.credentials
import pydicom
import urllib3
from google.oauth2 import service_account
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

STORE = "projects/osimis-test/locations/europe-west2/datasets/test/dicomStores/dicom"
HEALTHCARE = "https://www.googleapis.com/auth/cloud-healthcare"
MULTIPART = 'multipart/related; type="application/dicom"'
AS_STORED = f"{MULTIPART}; transfer-syntax=*"
DICOM_JSON = "application/dicom+json"


def sample(name: str) -> bytes:
    """Return a file that pydicom's wheel ships."""
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return Path(path).read_bytes()


def make_dicom(pixels: bytes = b"\0\0", **attributes: Any) -> bytes:
    """Return a part 10 file; UIDs are new unless they are given."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    values = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7",
        "SOPInstanceUID": generate_uid(),
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "PatientName": "Doe^John",
        "PatientID": "4711",
        "Modality": "OT",
        "StudyDate": "20200229",
        **attributes,
    }
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.add_new(0x7FE00010, "OB", pixels)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def read(content: bytes) -> Dataset:
    return pydicom.dcmread(io.BytesIO(content))


def multipart(files: Iterable[bytes], boundary: str) -> bytes:
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    parts = b"".join(head + content + b"\r\n" for content in files)
    return parts + f"--{boundary}--\r\n".encode()


def split(response: urllib3.BaseHTTPResponse) -> list[tuple[str, bytes]]:
    """Return the parts of a multipart answer: the content type and content of each."""
    boundary = response.headers["content-type"].partition("boundary=")[2].strip('"')
    pieces = (b"\r\n" + response.data).split(f"\r\n--{boundary}".encode())
    assert pieces[0] == b""
    assert pieces[-1] == b"--\r\n"
    parts = []
    for piece in pieces[1:-1]:
        head, _, content = piece.partition(b"\r\n\r\n")
        parts.append((head.decode().partition(": ")[2], content))
    return parts


class Client:
    """Talks to one DICOM store with a token of its own."""

    def __init__(self, url: str, credentials: Path, **pool: Any) -> None:
        self.pool = urllib3.PoolManager(retries=False, timeout=30, maxsize=8, **pool)
        self.url = url
        self.store_name = STORE
        self._credentials = credentials
        signer = service_account.Credentials.from_service_account_file(
            str(credentials / "service-account.json"), scopes=[HEALTHCARE]
        )
        signer.refresh(google.auth.transport.urllib3.Request(self.pool))
        self.token = str(signer.token)

    def as_owner(self) -> Client:
        """Return a client of the same store by the user, who owns the project."""
        other = copy.copy(self)
        user = google.oauth2.credentials.Credentials.from_authorized_user_file(
            str(self._credentials / "authorized-user.json")
        ).with_token_uri(f"{self.url}/token")
        user.refresh(google.auth.transport.urllib3.Request(self.pool))
        other.token = str(user.token)
        return other

    @property
    def web(self) -> str:
        return f"{self.url}/v1/{self.store_name}/dicomWeb"

    def of_new_store(self) -> Client:
        """Return a client with the same token, in a store of its own."""
        other = copy.copy(self)
        name = secrets.token_hex(8)
        parent = STORE.rpartition("/")[0]
        created = self.request("POST", f"{self.url}/v1/{parent}?dicomStoreId={name}", b"{}")
        assert created.status == 200
        other.store_name = f"{parent}/{name}"
        return other

    def request(
        self, verb: str, path: str, body: Any = None, **headers: str
    ) -> urllib3.BaseHTTPResponse:
        """Send a request; ``path`` may be absolute; ``content_type`` becomes ``Content-Type``."""
        sent = {"Authorization": f"Bearer {self.token}"}
        sent.update({name.replace("_", "-"): value for name, value in headers.items()})
        url = path if path.startswith("http") else self.web + path
        return self.pool.request(verb, url, body=body, headers=sent)

    def get(self, path: str, accept: str = "", **query: str) -> urllib3.BaseHTTPResponse:
        headers = {"accept": accept} if accept else {}
        return self.request("GET", f"{path}?{urlencode(query)}" if query else path, **headers)

    def store(self, *files: bytes, path: str = "/studies", **headers: str) -> Any:
        boundary = secrets.token_hex(16)
        return self.request(
            "POST",
            path,
            multipart(files, boundary),
            **{
                "content_type": f"{MULTIPART}; boundary={boundary}",
                "accept": DICOM_JSON,
                **headers,
            },
        )

    def search(self, path: str, **query: str) -> list[dict[str, Any]]:
        response = self.get(path, **query)
        assert response.status in (200, 204), response.data
        return json.loads(response.data) if response.status == 200 else []


def path_of(dataset: Dataset) -> str:
    """Return the path of an instance below the store's DICOMweb root."""
    return (
        f"/studies/{dataset.StudyInstanceUID}/series/{dataset.SeriesInstanceUID}"
        f"/instances/{dataset.SOPInstanceUID}"
    )
