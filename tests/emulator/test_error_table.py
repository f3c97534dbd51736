"""Google's status tables, row by row, with curl: what is sent, what comes back.

Each status that the conformance statement or the error model lists for a transaction is either
in ``ROWS`` or, with the reason, in ``NOT_COVERED``. What no request provokes,
a fault rule does.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import google.auth.transport.urllib3
import pytest
from google.oauth2 import service_account

from orthanc_gcp.emulator.server import Emulator
from tests.emulator.client import Client, make_dicom, multipart, path_of, read, sample

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")

ENVELOPE, PAGE = "application/json; charset=UTF-8", "text/html; charset=UTF-8"
TEXT, JSON, XML = "text/plain; charset=utf-8", "application/dicom+json", "application/dicom+xml"
PARTS, NOTHING = "multipart/related", ""

SPECIFIED = {
    "STOW": (200, 400, 401, 403, 406, 409, 429, 503),
    "QIDO": (200, 204, 400, 401, 403, 406, 429, 503),
    "WADO": (200, 400, 401, 403, 406, 429, 503),
    "DELETE": (200, 400, 401, 403, 429, 503),
    "API": (200, 400, 401, 403, 404, 409, 429, 499, 500, 501, 503, 504),
}
NOT_COVERED = {
    ("DELETE", 400): "no deletion is documented as malformed; any other UID is one that is absent",
}


@dataclass(frozen=True)
class Row:
    """A request by curl, and what the answer has to be.

    ``arguments`` and ``path`` have the names of the fixture ``places`` in braces; ``says`` is a
    part of the body.
    """

    transaction: str
    status: int
    path: str
    content_type: str
    says: str = ""
    arguments: tuple[str, ...] = ()
    token: str = "good"
    settings: dict[str, Any] = field(default_factory=dict)


def post(file: str, kind: str = "application/dicom", accept: str = "*/*") -> tuple[str, ...]:
    body = f"@{{folder}}/{file}"
    return ("-H", f"Content-Type: {kind}", "-H", f"Accept: {accept}", "--data-binary", body)


def denied(permission: str) -> dict[str, Any]:
    return {"deniedPermissions": [permission]}


def accept(kind: str) -> tuple[str, ...]:
    return ("-H", f"Accept: {kind}")


PARTS_X = 'multipart/related; type="application/dicom"; boundary=x'
DELETE = ("-X", "DELETE")
PICKY = "no supported media type found in [text/html], accept-header must include one of"
DENIED = "denied on resource"
SCOPE = "Request had insufficient authentication scopes."
READ, WRITE, REMOVE = (
    f"healthcare.dicomStores.dicomWeb{name}" for name in ("Read", "Write", "Delete")
)
CHUNKED = ("-H", "Transfer-Encoding: chunked")
PARTS_OF_XML = f'{PARTS}; type="{XML}"'

ROWS = [
    Row("STOW", 200, "{web}/studies", XML, "ReferencedSOPSequence", post("new.dcm")),
    Row("STOW", 200, "{web}/studies", JSON, "00081199", post("new.dcm", accept=JSON)),
    Row("STOW", 200, "{web}/studies", XML, "RetrieveURL", post("parts.bin", PARTS_X)),
    Row("STOW", 409, "{web}/studies", XML, "already exists", post("image.dcm")),
    Row("STOW", 200, "{web}/studies", XML, "", (*post("large.dcm"), "-H", "Expect: 100-continue")),
    Row("STOW", 200, "{web}/studies", XML, "", (*post("new.dcm"), *CHUNKED)),
    Row(
        "STOW", 400, "{web}/studies", TEXT, "unsupported media type", post("new.dcm", "text/plain")
    ),
    Row("STOW", 400, "{web}/studies", TEXT, "form-urlencoded", ("-d", "x")),
    Row("STOW", 400, "{web}/studies", TEXT, "multipart", post("new.dcm", PARTS_X)),
    Row("STOW", 400, "{web}/studies", TEXT, "multipart", post("cut.bin", PARTS_X)),
    Row("STOW", 401, "{web}/studies", ENVELOPE, "CREDENTIALS_MISSING", post("new.dcm"), ""),
    Row("STOW", 401, "{web}/studies", ENVELOPE, "invalid authentication", post("new.dcm"), "bad"),
    Row("STOW", 403, "{web}/studies", ENVELOPE, SCOPE, post("new.dcm"), "narrow"),
    Row("STOW", 403, "{absent}/studies", ENVELOPE, DENIED, post("new.dcm")),
    Row("STOW", 403, "{web}/studies", ENVELOPE, WRITE, post("new.dcm"), settings=denied(WRITE)),
    Row("STOW", 406, "{web}/studies", TEXT, PICKY, post("new.dcm", accept="text/html")),
    Row("STOW", 409, "{web}/studies", XML, "already exists", post("changed.dcm")),
    Row("STOW", 409, "{web}/studies", JSON, "already exists", post("changed.dcm", accept=JSON)),
    Row("STOW", 409, "{web}/studies", XML, "invalid DICOM instance", post("junk.dcm")),
    Row("STOW", 409, "{web}/studies/1.2.3", XML, "StudyInstanceUID", post("new.dcm")),
    Row("QIDO", 200, "{web}/studies", JSON, "0020000D"),
    Row("QIDO", 200, "{web}/studies", JSON, "0020000D", ("--http1.0",)),
    Row("QIDO", 200, "{web}/instances?limit=1", PARTS, "NativeDicomModel", accept(PARTS_OF_XML)),
    Row("QIDO", 204, "{web}/studies?PatientID=nobody", NOTHING),
    Row("QIDO", 204, "{web}/studies?PatientName=*", NOTHING),
    Row("QIDO", 400, "{web}/studies?SOPClassUID=1.2", TEXT, "SOPClassUID is not a supported"),
    Row("QIDO", 400, "{web}/studies?includefield=Nonsense", TEXT, "attribute: Nonsense"),
    Row("QIDO", 400, "{web}/studies?limit=5001", TEXT, "limit"),
    Row("QIDO", 400, "{web}/instances?offset=1000001", TEXT, "offset"),
    Row("QIDO", 401, "{web}/studies", ENVELOPE, "CREDENTIALS_MISSING", token=""),
    Row("QIDO", 401, "{web}/studies", ENVELOPE, "invalid authentication", token="bad"),
    Row("QIDO", 403, "{web}/studies", ENVELOPE, SCOPE, token="narrow"),
    Row("QIDO", 403, "{absent}/studies", ENVELOPE, DENIED),
    Row("QIDO", 403, "{web}/studies", ENVELOPE, READ, settings=denied(READ)),
    Row("QIDO", 406, "{web}/studies", TEXT, PICKY, accept("text/html")),
    Row("WADO", 200, "{image}", PARTS, "DICM"),
    Row("WADO", 200, "{image}/metadata", JSON, "00020010"),
    Row("WADO", 200, "{image}/frames/1", PARTS, "application/octet-stream"),
    Row("WADO", 200, "{image}/bulkdata/7FE00010", PARTS, "application/octet-stream"),
    Row("WADO", 400, "{image}/frames/2", TEXT, "frame"),
    Row("WADO", 400, "{image}/frames/x", TEXT, "frame"),
    Row("WADO", 400, "{report}/frames/1", TEXT),
    Row("WADO", 400, "{broken}", TEXT),
    Row("WADO", 401, "{image}", ENVELOPE, "CREDENTIALS_MISSING", token=""),
    Row("WADO", 401, "{image}/metadata", ENVELOPE, "invalid authentication", token="bad"),
    Row("WADO", 403, "{image}", ENVELOPE, SCOPE, token="narrow"),
    Row("WADO", 403, "{image}", ENVELOPE, READ, settings=denied(READ)),
    Row("WADO", 403, "{absent}/studies/1.2", ENVELOPE, DENIED),
    Row("WADO", 403, "{web}/studies/1.2", ENVELOPE, DENIED),
    Row("WADO", 403, "{study}/series/1.2", ENVELOPE, DENIED),
    Row("WADO", 403, "{image}1", ENVELOPE, DENIED),
    Row("WADO", 403, "{image}1/metadata", ENVELOPE, DENIED),
    Row("WADO", 403, "{image}1/frames/1", ENVELOPE, DENIED),
    Row("WADO", 403, "{image}/bulkdata/00100010", ENVELOPE, DENIED),
    Row("WADO", 406, "{image}", TEXT, PICKY, accept("text/html")),
    Row("WADO", 406, "{image}/metadata", TEXT, PICKY, accept("text/html")),
    Row("WADO", 406, "{image}/frames/1", TEXT, PICKY, accept("text/html")),
    Row("WADO", 406, "{image}/bulkdata/7FE00010", TEXT, PICKY, accept("text/html")),
    Row("WADO", 406, "{study}", TEXT, "no supported", accept("application/dicom")),
    Row("WADO", 406, "{image}", TEXT, "no supported", accept('"application/dicom; q=1"')),
    Row("DELETE", 200, "{study}", ENVELOPE, "/operations/", DELETE),
    Row("DELETE", 200, "{series}", ENVELOPE, "/operations/", DELETE),
    Row("DELETE", 200, "{image}", ENVELOPE, "{{}}", DELETE),
    Row("DELETE", 200, "{image}", ENVELOPE, "{{}}", (*DELETE, "-H", f"Content-Type: {ENVELOPE}")),
    Row("DELETE", 401, "{study}", ENVELOPE, "CREDENTIALS_MISSING", DELETE, ""),
    Row("DELETE", 401, "{image}", ENVELOPE, "invalid authentication", DELETE, "bad"),
    Row("DELETE", 403, "{series}", ENVELOPE, SCOPE, DELETE, "narrow"),
    Row("DELETE", 403, "{study}", ENVELOPE, REMOVE, DELETE, settings=denied(REMOVE)),
    Row("DELETE", 403, "{absent}/studies/1.2", ENVELOPE, DENIED, DELETE),
    Row("DELETE", 403, "{web}/studies/1.2", ENVELOPE, DENIED, DELETE),
    Row("DELETE", 403, "{study}/series/1.2", ENVELOPE, DENIED, DELETE),
    Row("DELETE", 403, "{image}1", ENVELOPE, DENIED, DELETE),
    Row("API", 200, "{store}", ENVELOPE, "dicomStores"),
    Row("API", 400, "{store}:setIamPolicy", ENVELOPE, "INVALID_ARGUMENT", ("-d", "[")),
    Row("API", 400, "{stores}?dicomStoreId=a/b", ENVELOPE, "INVALID_ARGUMENT", ("-d", "{{}}")),
    Row("API", 401, "{store}", ENVELOPE, "CREDENTIALS_MISSING", token=""),
    Row("API", 401, "{store}", ENVELOPE, "ACCESS_TOKEN_EXPIRED", settings={"clockOffset": 4000}),
    Row("API", 403, "{store}", ENVELOPE, "ACCESS_TOKEN_SCOPE_INSUFFICIENT", token="narrow"),
    Row("API", 403, "{store}", ENVELOPE, "SERVICE_DISABLED", settings={"disabledApi": True}),
    Row(
        *("API", 403, "{store}", ENVELOPE, "USER_PROJECT_DENIED"),
        arguments=("-H", "x-goog-user-project: other"),
        settings={"deniedQuotaProjects": ["other"]},
    ),
    Row("API", 404, "{store}x", ENVELOPE, "NOT_FOUND"),
    Row("API", 404, "{store}:unknown", PAGE, "Error 404 (Not Found)!!1"),
    Row("API", 404, "{store}/nothing", PAGE, "Error 404 (Not Found)!!1"),
    Row("API", 404, "{web}/studies", PAGE, "Error 404 (Not Found)!!1", ("-X", "PURGE")),
    Row("API", 404, "{web}/studies", PAGE, "Error 404 (Not Found)!!1", ("-X", "PUT", "-d", "x")),
    Row("API", 409, "{stores}?dicomStoreId={name}", ENVELOPE, "ALREADY_EXISTS", ("-d", "{{}}")),
]
REQUESTS = {
    "STOW": ("{web}/studies", post("new.dcm")),
    "QIDO": ("{web}/studies", ()),
    "WADO": ("{image}", ()),
    "DELETE": ("{study}", DELETE),
    "API": ("{store}", ()),
}
ROWS += [
    Row(name, status, path, ENVELOPE, "", arguments, settings={"faults": [{"status": status}]})
    for name, (path, arguments) in REQUESTS.items()
    for status in SPECIFIED[name]
    if status == 429 or status >= 499
]
STATUS_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


@pytest.fixture
def places(client: Client, tmp_path: Path) -> dict[str, str]:
    """Names for the table: addresses of what is in a store, and a folder of bodies."""
    image, report = sample("CT_small.dcm"), sample("test-SR.dcm")
    broken = sample("JPEG2000.dcm").replace(b"\xff\x4f\xff\x51", b"\0" * 4)
    assert client.store(image, report, broken).status == 200
    bodies = {
        "new.dcm": make_dicom(),
        "large.dcm": make_dicom(bytes(3_000_000)),
        "image.dcm": image,
        "changed.dcm": image[:-1] + bytes([image[-1] ^ 1]),
        "junk.dcm": b"no DICOM at all",
        "parts.bin": multipart([make_dicom(), make_dicom()], "x"),
        "cut.bin": multipart([make_dicom(), make_dicom()], "x")[:-20],
    }
    for name, content in bodies.items():
        (tmp_path / name).write_bytes(content)
    store = f"{client.url}/v1/{client.store_name}"
    stores, _, name = store.rpartition("/")
    instance = client.web + path_of(read(image))
    return {
        "web": client.web,
        "absent": f"{store}x/dicomWeb",
        "store": store,
        "stores": stores,
        "name": name,
        "image": instance,
        "series": instance.partition("/instances/")[0],
        "study": instance.partition("/series/")[0],
        "report": client.web + path_of(read(report)),
        "broken": client.web + path_of(read(sample("JPEG2000.dcm"))),
        "folder": str(tmp_path),
    }


@pytest.fixture(scope="module")
def tokens(shared_client: Client, shared_folder: Path) -> dict[str, str]:
    signer = service_account.Credentials.from_service_account_file(
        str(shared_folder / "service-account.json"),
        scopes=["https://www.googleapis.com/auth/pubsub"],
    )
    signer.refresh(google.auth.transport.urllib3.Request(shared_client.pool))
    return {"good": shared_client.token, "bad": "ya29.c.AAAA", "narrow": str(signer.token)}


@pytest.fixture
def settings(shared_emulator: Emulator, row: Row) -> Iterator[None]:
    before = shared_emulator.fault_settings.as_json()
    yield
    shared_emulator.fault_settings.change(**before)


def name_of(row: Row) -> str:
    return f"{row.transaction} {row.status} {row.path} {row.says or row.arguments}"


@pytest.mark.parametrize("row", ROWS, ids=name_of)
@pytest.mark.usefixtures("settings")
def test_the_table(
    row: Row, places: dict[str, str], tokens: dict[str, str], shared_emulator: Emulator
) -> None:
    shared_emulator.fault_settings.change(**row.settings)
    arguments = [argument.format(**places) for argument in (*row.arguments, row.path)]
    if row.token:
        arguments += ["-H", f"Authorization: Bearer {tokens[row.token]}"]
    status, content_type, body = curl(arguments, Path(places["folder"]) / "answer")
    assert status == row.status, body
    if row.content_type == PARTS:
        content_type = content_type.partition(";")[0]
    assert content_type == row.content_type
    assert row.says.format(**places).encode() in body
    judge(row, body)


def curl(arguments: list[str], answer: Path) -> tuple[int, str, bytes]:
    """Return status, content type and body of what curl gets."""
    told = ["--silent", "--show-error", "--globoff", "--max-time", "30", "--output", str(answer)]
    told += ["--write-out", "%{http_code} %{content_type}"]
    answer.write_bytes(b"")
    done = subprocess.run(["curl", *told, *arguments], capture_output=True, text=True, check=True)
    status, _, content_type = done.stdout.partition(" ")
    return int(status), content_type, answer.read_bytes()


def judge(row: Row, body: bytes) -> None:
    """Look at what all bodies of a kind have in common."""
    if row.content_type == ENVELOPE and row.status != 200:
        error = json.loads(body)["error"]
        assert (error["code"], error["status"]) == (row.status, STATUS_NAMES[row.status])
        assert error["message"]
        assert body.startswith(b'{\n  "error"')
    elif row.content_type in (ENVELOPE, JSON):
        json.loads(body)
    elif row.content_type == XML:
        assert ElementTree.fromstring(body).tag == "NativeDicomModel"
    elif row.content_type == TEXT:
        assert body.decode().strip()
    elif row.content_type == NOTHING:
        assert body == b""


def test_every_status_is_covered_or_excused() -> None:
    specified = {(name, status) for name, statuses in SPECIFIED.items() for status in statuses}
    covered = {(row.transaction, row.status) for row in ROWS}
    assert not covered & NOT_COVERED.keys()
    assert covered | NOT_COVERED.keys() == specified


def test_no_row_is_there_twice() -> None:
    assert [row for row, count in Counter(map(repr, ROWS)).items() if count > 1] == []
