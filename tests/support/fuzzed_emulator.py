"""An emulator in a process of its own, and requests of every service as nobody should send them."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import strategies as st

from tests.emulator.client import DICOM_JSON, make_dicom, read
from tests.support import fuzzed_files
from tests.support.fuzzed_files import INSTANCES, SERIES, STUDY
from tests.support.fuzzing import (
    Request,
    Watched,
    ask,
    environment,
    framings,
    hostile_texts,
    json_bodies,
    mostly,
    values_of_json,
)

DATASET = "/v1/projects/osimis-test/locations/europe-west2/datasets/test"
STORE = f"{DATASET}/dicomStores/dicom"
WEB = f"{STORE}/dicomWeb"
BETA = WEB.replace("/v1/", "/v1beta1/")
IMAGE = f"/studies/{STUDY}/series/{SERIES}/instances/{INSTANCES[0]}"
BUCKET = "bucket"
TOKEN = b"@TOKEN@"
"""Stands in a request where its token will."""
NUMBER = b"numberofproject"
"""Stands in a body where the project's number will."""
BEARER = (b"Authorization", b"Bearer " + TOKEN)
MOST_MEMORY = 600 * 1024 * 1024
MOST_LINES = 400
"""An import that fails has a line for each file: that is Google's log of operations."""


class FuzzedEmulator(Watched):
    """``orthanc-gcp emulator --admin`` with buckets."""

    def __init__(self, folder: Path, lines_more: int = 0) -> None:
        (folder / "buckets" / BUCKET).mkdir(parents=True)
        log = folder / "emulator.log"
        command = [
            *(sys.executable, "-m", "orthanc_gcp", "emulator", "--port", "0", "--admin"),
            *("--directory", str(folder / "data"), "--buckets", str(folder / "buckets")),
            *("--write-credentials", str(folder / "credentials")),
        ]
        with log.open("ab") as output:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=output, env=environment(folder)
            )
        assert process.stdout is not None
        with process.stdout as lines:
            found = re.search(rb"127\.0\.0\.1:(\d+)", lines.readline())
        assert found, log.read_text()
        super().__init__(
            process,
            int(found[1]),
            log,
            most_memory=MOST_MEMORY,
            most_lines=MOST_LINES + lines_more,
        )
        try:
            self._prepare(folder)
        except BaseException:
            super().end()
            raise

    def _prepare(self, folder: Path) -> None:
        self._http = urllib3.PoolManager(retries=False, timeout=30)
        self._token = self._call("GET", "/emulator/token").data
        identities = json.loads((folder / "credentials" / "external-account-file.json").read_text())
        self._number = identities["audience"].split("/")[4].encode()
        topic = "/v1/projects/osimis-test/topics/topic"
        assert self.ask_json("PUT", topic, {}) == 200
        name = topic.removeprefix("/v1/")
        assert self.ask_json("PUT", topic.replace("topic", "subscription"), {"topic": name}) == 200
        assert self.ask_json("POST", f"{DATASET}/dicomStores?dicomStoreId=other", {}) == 200

    def fill(self, request: Request) -> Request:
        return replace(request, body=request.body.replace(NUMBER, self._number))

    def exchange(self, pieces: Any, *, is_request: bool) -> bytes:
        filled = [piece.replace(TOKEN, self._token) for piece in pieces]
        return super().exchange(filled, is_request=is_request)

    @property
    def access_token(self) -> str:
        return self._token.decode()

    def ask_json(self, verb: str, path: str, body: Any) -> int:
        return int(self._call(verb, path, json.dumps(body).encode()).status)

    def answers(self) -> bool:
        """Whether a file is stored, found and deleted again."""
        content = make_dicom()
        study = read(content).StudyInstanceUID
        stored = self._call("POST", f"{WEB}/studies", content, "application/dicom").status
        found = self._call("GET", f"{WEB}/studies?StudyInstanceUID={study}").status
        gone = self._call("DELETE", f"{WEB}/studies/{study}").status
        return (stored, found, gone) == (200, 200, 200)

    def empty(self) -> None:
        """Delete what is stored."""
        for study in (STUDY, "..", "1/2", "%20", "a b"):
            self._call("DELETE", f"{WEB}/studies/{quote(study, safe='')}")

    def end(self) -> None:
        self._http.clear()
        super().end()

    def _call(
        self, verb: str, path: str, body: bytes = b"", kind: str = "application/json"
    ) -> urllib3.BaseHTTPResponse:
        headers = {"Content-Type": kind}
        if path.startswith("/v1"):
            headers["Authorization"] = f"Bearer {self._token.decode()}"
        url = f"http://127.0.0.1:{self.port}{path}"
        return self._http.request(verb, url, body=body, headers=headers)


# -- DICOMweb -------------------------------------------------------------------------------------

_accepts = st.sampled_from(
    [
        *("", "*/*", "application/dicom", "application/dicom; transfer-syntax=*", "image/png"),
        *('multipart/related; type="application/dicom"; transfer-syntax=*', "image/jpeg", "text/*"),
        *(
            'multipart/related; type="application/octet-stream"',
            DICOM_JSON,
            "application/dicom+xml",
        ),
        *('multipart/related; type="image/jpeg"', 'multipart/related; type="image/jp2"'),
        *('multipart/related; type="application/octet-stream"; transfer-syntax=*', "a;q=nan"),
        *("application/dicom; transfer-syntax=1.2.840.10008.1.2.1", 'multipart/related; type="'),
        *("application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90", "application/dicom;;=;"),
        *('multipart/related; type="application/dicom+xml"', "multipart/related", ",,;,", '"'),
    ]
)
_retrieved = st.sampled_from(
    [
        *(IMAGE, f"{IMAGE}/metadata", f"{IMAGE}/frames/1", f"{IMAGE}/frames/1,2,1", "/instances"),
        *(f"{IMAGE}/rendered", f"{IMAGE}/frames/1/rendered", f"{IMAGE}/bulkdata/7FE00010"),
        *(f"{IMAGE}/frames/0", f"{IMAGE}/frames/999999999", f"{IMAGE}/frames/1,,2", "/studies"),
        *(f"{IMAGE}/rendered?viewport=1,1", f"{IMAGE}/rendered?viewport=10000,10000"),
        *(f"{IMAGE}/rendered?viewport=2,2,-1,0,9999999,1e9", f"{IMAGE}/rendered?viewport=5,5,,,,"),
        *(f"{IMAGE}/bulkdata/00081140/0/00081150", f"{IMAGE}/bulkdata/00091002/{'0/' * 3}"),
        *(f"{IMAGE}/bulkdata/{'00081140/0/' * 500}7FE00010", f"{IMAGE}:getStorageInfo"),
        *(f"/studies/{STUDY}", f"/studies/{STUDY}/metadata", f"/studies/{STUDY}/series"),
        *(f"/studies/{STUDY}/series/{SERIES}/metadata", f"/studies/{STUDY}:getStudyMetrics"),
        *("/studies?includefield=all", "/instances?includefield=all&limit=5", "/series"),
    ]
)


@st.composite
def retrievals(draw: st.DrawFn) -> Request:
    """What a client asks of what may be stored."""
    headers = [BEARER, (b"Accept", draw(mostly(st.just("*/*"), _accepts)).encode())]
    if draw(st.booleans()):
        headers.append((b"Accept-Encoding", draw(st.sampled_from([b"gzip", b"gzip;q=0", b"*"]))))
    return Request("GET", WEB + draw(_retrieved), tuple(headers))


def storing(content: bytes, verb: str = "POST") -> Request:
    root = WEB if verb == "POST" else BETA
    kind = (b"Content-Type", b"application/dicom")
    return Request(verb, f"{root}/studies", (BEARER, kind), content)


_query_names = st.sampled_from(
    [
        "limit",
        "offset",
        "includefield",
        "fuzzymatching",
        "StudyDate",
        "PatientName",
        "PatientID",
        "00100010",
        "ModalitiesInStudy",
        "StudyInstanceUID",
        "Modality",
        "x",
        "",
        "$.xgafv",
        "\x00",
        "0020000D",
        "AccessionNumber",
        "SOPInstanceUID",
        "00081140.00081150",
        "NumberOfFrames",
    ]
)
_query_values = (
    st.sampled_from(
        [
            "1",
            "20200101-20201231",
            "-",
            "-20200101",
            "*",
            "Doe^John",
            "true",
            "all",
            STUDY,
            "a,b,,c",
        ]
    )
    | hostile_texts
)
_right_queries = st.sampled_from(
    [
        *([], [("includefield", "all")], [("PatientName", "doe"), ("fuzzymatching", "true")]),
        *([("limit", "1"), ("offset", "1")], [("StudyDate", "20200101-"), ("PatientID", "4711")]),
        *([("includefield", "00081030,PixelData"), ("limit", "5000")], [("00100010", "Doe^John")]),
    ]
)
_queries = mostly(_right_queries, st.lists(st.tuples(_query_names, _query_values), max_size=4))
_levels = st.sampled_from(
    [
        "/studies",
        "/series",
        "/instances",
        f"/studies/{STUDY}/series",
        "/studies/%00/instances",
        f"/studies/{STUDY}/series/{SERIES}/instances",
        "/studies/..%2f..%2f/series",
        "/studies//",
    ]
)
searches = st.builds(
    lambda level, query: Request("GET", f"{WEB}{level}?{_encoded(query)}", (BEARER,)),
    _levels,
    _queries,
)


def _encoded(pairs: list[tuple[str, str]]) -> str:
    return urlencode(pairs, errors="surrogatepass")


_DATA_SET = read(make_dicom(StudyInstanceUID=STUDY, SeriesInstanceUID=SERIES))
_MODEL: dict[str, Any] = {
    **_DATA_SET.file_meta.to_json_dict(),
    **_DATA_SET.to_json_dict(),
    "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
    "7FE00010": {"vr": "OB", "BulkDataURI": "pixels"},
}
_elements = st.dictionaries(
    st.sampled_from([*_MODEL, "00081140", "00020010", "FFFEE000", "00080018", "x", "", "00091001"]),
    st.fixed_dictionaries(
        {},
        optional={
            "vr": st.sampled_from(
                ["SQ", "UI", "OB", "PN", "DS", "AT", "US", "FD", "UV", "", "xx", 1]
            ),
            "Value": st.lists(values_of_json, max_size=3) | values_of_json,
            "BulkDataURI": st.sampled_from(["pixels", "", "../x", "\0", 1, None]),
            "InlineBinary": st.sampled_from(["", "AAAA", "=", "é", "A" * 5001, 1, None]),
        },
    )
    | values_of_json,
    max_size=4,
)
_models = _elements.map(lambda changes: {**_MODEL, **changes})
_described = json_bodies(st.lists(_models, max_size=3) | values_of_json)


@st.composite
def transactions(draw: st.DrawFn) -> Request:
    """Store transactions of several parts, of files or of metadata with bulk data."""
    is_metadata, verb = draw(st.booleans()), draw(st.sampled_from(["POST", "POST", "PUT"]))
    kind = DICOM_JSON if is_metadata else "application/dicom"
    parts = [(kind, draw(_described if is_metadata else fuzzed_files.files()))]
    for _ in range(draw(st.integers(0, 2))):
        more = ("application/octet-stream", draw(st.binary(max_size=30)))
        parts.append(more if is_metadata else (kind, draw(fuzzed_files.files())))
    odd = st.sampled_from(["", '"', "a" * 201, "x y", "é", "--"])
    boundary = draw(mostly(st.just("x"), odd))
    body = b"".join(
        f"--{boundary}\r\nContent-Type: {kind}\r\nContent-Location: pixels\r\n\r\n".encode()
        + (content + b"\r\n")
        for kind, content in parts
    )
    end = st.just(f"--{boundary}--\r\n")
    body += draw(mostly(end, st.sampled_from(["", f"--{boundary}", "--x--"]))).encode()
    media = draw(mostly(st.just("related"), st.sampled_from(["form-data", "mixed", "*", ""])))
    content_type = f'multipart/{media}; type="{kind}"; boundary="{boundary}"'
    root = WEB if verb == "POST" else BETA
    path = draw(st.sampled_from(["/studies", "/studies", f"/studies/{STUDY}", "/studies/%00"]))
    accept = (b"Accept", draw(mostly(st.just("*/*"), _accepts)).encode())
    return Request(verb, root + path, (BEARER, accept), body).with_header(
        "Content-Type", content_type
    )


_pointers = (
    st.sampled_from(
        [
            "",
            "/00100010",
            "/00100010/Value/0",
            "/00100010/vr",
            "/00081140/Value/-",
            "/7FE00010",
            "/x~2",
        ]
    )
    | hostile_texts
)
_patches = st.lists(
    st.fixed_dictionaries(
        {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "", 1])},
        optional={"path": _pointers, "from": _pointers, "value": values_of_json},
    ),
    max_size=4,
)
patches = st.builds(
    lambda level, body: Request("PATCH", f"{BETA}{level}/metadata", (BEARER,), body),
    st.sampled_from([IMAGE, f"/studies/{STUDY}", f"/studies/{STUDY}/series/{SERIES}"]),
    json_bodies(_patches | values_of_json),
)

# -- The other services ---------------------------------------------------------------------------

_objects = st.sampled_from([f"gs://{BUCKET}/**", f"gs://{BUCKET}/*", f"gs://{BUCKET}/x.dcm"])
_uris = (
    st.sampled_from(
        [
            f"gs://{BUCKET}/**",
            f"gs://{BUCKET}/*.dcm",
            f"gs://{BUCKET}",
            f"gs://{BUCKET}/export",
            "gs://none/x",
            "gs://../x",
            f"gs://{BUCKET}/../../etc/passwd",
            "gs://",
            "file:///etc/passwd",
            f"gs://{BUCKET}/" + "*a" * 400,
            f"gs://{BUCKET}/" + "?" * 255,
            f"gs://{BUCKET}/a\x00b",
        ]
    )
    | hostile_texts
)
_somewhere = mostly(
    st.fixed_dictionaries(
        {"uri": mostly(_objects, _uris), "uriPrefix": mostly(st.just(f"gs://{BUCKET}/e"), _uris)}
    ),
    values_of_json,
)
_transfers = st.fixed_dictionaries(
    {"gcsSource": _somewhere, "gcsDestination": _somewhere},
    optional={
        "blobStorageSettings": st.sampled_from([{"blobStorageClass": "NEARLINE"}, {}, [], "x", 1]),
        "filterConfig": st.sampled_from([{"resourcePathsGcsUri": f"gs://{BUCKET}/f"}, [], {}, 1]),
        "config": values_of_json,
        "destinationStore": values_of_json,
        "destinationDataset": values_of_json,
    },
)
_topics = st.sampled_from(["projects/osimis-test/topics/topic", "projects/a/topics/b", "", "x", 1])
_stores = st.fixed_dictionaries(
    {},
    optional={
        "notificationConfig": st.fixed_dictionaries({}, optional={"pubsubTopic": _topics})
        | values_of_json,
        "notificationConfigs": st.lists(values_of_json, max_size=2) | values_of_json,
        "labels": values_of_json,
        "timeZone": hostile_texts | values_of_json,
        "encryptionSpec": values_of_json,
        "name": values_of_json,
    },
)
_policies = st.fixed_dictionaries(
    {},
    optional={
        "policy": st.fixed_dictionaries(
            {},
            optional={
                "etag": values_of_json,
                "bindings": st.lists(
                    st.fixed_dictionaries(
                        {},
                        optional={
                            "role": st.sampled_from(["roles/healthcare.dicomViewer", "x", 1, []]),
                            "members": st.lists(hostile_texts | st.just("user:a"), max_size=2)
                            | values_of_json,
                        },
                    )
                    | values_of_json,
                    max_size=2,
                ),
            },
        )
        | values_of_json,
        "permissions": st.lists(st.just("healthcare.dicomStores.get") | values_of_json, max_size=3)
        | values_of_json,
    },
)
_acks = st.sampled_from(["", "MS4x", "x", base64.b64encode(b"1" * 4400 + b".1").decode(), 1, None])
_of_pubsub = st.fixed_dictionaries(
    # To wait for messages that do not come takes its time.
    {"returnImmediately": st.just(True)},
    optional={
        "topic": _topics | values_of_json,
        "labels": values_of_json,
        "ackDeadlineSeconds": st.sampled_from([10, 600, 0, -1, 10**30, 1.5, "10", None, True]),
        "messageRetentionDuration": st.sampled_from(
            ["600s", "1e5s", "-1s", "", 600, "9" * 50 + "s"]
        ),
        "expirationPolicy": values_of_json,
        "maxMessages": st.sampled_from([1, 0, -1, 10**30, "1", True, None, 1.5]),
        "ackIds": st.lists(_acks, max_size=3) | values_of_json,
        "messages": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "data": st.sampled_from(["", "AAAA", "=", "é", 1, "A" * 5001]),
                    "attributes": st.dictionaries(hostile_texts, values_of_json, max_size=2)
                    | values_of_json,
                    "orderingKey": values_of_json,
                },
            )
            | values_of_json,
            max_size=3,
        )
        | values_of_json,
    },
)
_empty: st.SearchStrategy[Any] = st.just({}) | values_of_json
_OTHER = f"{DATASET}/dicomStores/other"
_PROJECT = "/v1/projects/osimis-test"
_calls: list[tuple[str, str, st.SearchStrategy[Any]]] = [
    ("POST", f"{STORE}:import", _transfers),
    ("POST", f"{STORE}:export", _transfers),
    ("POST", f"{STORE}:deidentify", _transfers),
    ("POST", f"{DATASET}:deidentify", _transfers),
    ("POST", f"{STORE}:setBlobStorageSettings", _transfers),
    ("POST", f"{WEB}{IMAGE}:setBlobStorageSettings", _transfers),
    ("POST", f"{_OTHER}:setIamPolicy", _policies),
    ("POST", f"{STORE}:testIamPermissions", _policies),
    ("GET", f"{_OTHER}:getIamPolicy", _empty),
    ("POST", f"{DATASET}/dicomStores", _stores),
    ("PATCH", _OTHER, _stores),
    ("PATCH", DATASET, _stores),
    ("GET", f"{DATASET}/dicomStores", _empty),
    ("GET", f"{STORE}:getDICOMStoreMetrics", _empty),
    ("GET", f"{DATASET}/operations", _empty),
    ("POST", f"{DATASET}/operations/1:cancel", _empty),
    ("POST", f"{_PROJECT}/locations/europe-west2/datasets", _stores),
    ("GET", f"{_PROJECT}/locations/europe-west2/datasets", _empty),
    ("GET", f"{_PROJECT}/locations", _empty),
    ("PUT", f"{_PROJECT}/topics/topic2", _of_pubsub),
    ("GET", f"{_PROJECT}/topics", _empty),
    ("POST", f"{_PROJECT}/topics/topic:publish", _of_pubsub),
    ("PUT", f"{_PROJECT}/subscriptions/subscription2", _of_pubsub),
    ("GET", f"{_PROJECT}/subscriptions", _empty),
    ("POST", f"{_PROJECT}/subscriptions/subscription:pull", _of_pubsub),
    ("POST", f"{_PROJECT}/subscriptions/subscription:acknowledge", _of_pubsub),
    ("POST", f"{_PROJECT}/subscriptions/subscription:modifyAckDeadline", _of_pubsub),
    ("POST", "/storage/v1/b", _stores),
    ("GET", "/storage/v1/b", _empty),
    ("GET", f"/storage/v1/b/{BUCKET}/o", _empty),
    ("POST", "/v1/projects/-/serviceAccounts/orthanc@x:generateAccessToken", _empty),
    ("GET", f"{_PROJECT}/serviceAccounts/x/allowedLocations", _empty),
]
_parameters = st.sampled_from(
    [
        "pageSize",
        "pageToken",
        "filter",
        "updateMask",
        "dicomStoreId",
        "datasetId",
        "prefix",
        "x",
        "delimiter",
        "maxResults",
        "startOffset",
        "versions",
        "project",
        "returnPartialSuccess",
    ]
)
_settings = (
    st.sampled_from(
        [
            "1",
            "labels",
            "notificationConfig",
            "timeZone",
            "labels,notificationConfigs",
            "new-one",
            "NOT " * 2400 + "a=b",
            "a=b AND c:d OR NOT e<f",
            '"' * 9000,
            "name=*",
            "a." * 4000 + "b=c",
        ]
    )
    | hostile_texts
)


@st.composite
def calls(draw: st.DrawFn) -> Request:
    """Methods of the control plane, of IAM, Pub/Sub and Cloud Storage that are in JSON."""
    verb, path, objects = draw(st.sampled_from(_calls))
    query = draw(st.lists(st.tuples(_parameters, _settings), max_size=2))
    body = b"" if verb == "GET" else draw(json_bodies(objects))
    target = f"{path}?{_encoded(query)}" if query else path
    return Request(verb, target, (BEARER, (b"Content-Type", b"application/json")), body)


_grants = st.sampled_from(
    [
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "urn:ietf:params:oauth:grant-type:token-exchange",
        *("refresh_token", "authorization_code", ""),
    ]
)


def _base64(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


_assertions = st.builds(
    lambda head, claims, tail: f"{_base64(head)}.{_base64(claims)}.{tail}",
    st.sampled_from([{"alg": "RS256"}, {"alg": "none"}, {"alg": "HS256"}, {}, [], 1, {"alg": []}]),
    st.dictionaries(st.sampled_from(["iss", "aud", "exp", "iat", "scope", "sub"]), values_of_json),
    st.sampled_from(["", "AAAA", "é", "=", "a" * 3000]),
) | st.sampled_from(["", "..", "a.b.c", "a.b", "." * 5000, "\0", "e30.e30.e30"])
_AUDIENCE = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q"
_fields = st.dictionaries(
    st.sampled_from(
        [
            "assertion",
            "refresh_token",
            "client_id",
            "client_secret",
            "scope",
            "subject_token",
            "audience",
            "subject_token_type",
            "requested_token_type",
            "x",
            "",
        ]
    ),
    _assertions | hostile_texts | st.just(_AUDIENCE),
    max_size=5,
)


@st.composite
def grants(draw: st.DrawFn) -> Request:
    """Requests for tokens (RFC 6749, RFC 7523, RFC 8693), and of metadata servers."""
    path = draw(st.sampled_from(["/token", "/v1/token", "/v1/oauthtoken"]))
    form = {"grant_type": draw(_grants), **draw(_fields)}
    body = _encoded(list(form.items())).encode()
    kind = draw(
        st.sampled_from(
            ["application/x-www-form-urlencoded"] * 4
            + [
                "application/json",
                "multipart/form-data; boundary=x",
                "",
                "text/plain; charset=utf-7",
            ]
        )
    )
    if kind.startswith("multipart"):
        body = b"".join(
            f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in form.items()
        )
        body += b"--x--\r\n"
    request = Request("POST", path, (), draw(st.just(body) | st.binary(max_size=50)))
    if draw(st.integers(0, 5)) == 0:
        request = request.with_text("Authorization", draw(hostile_texts))
    return request.with_header("Content-Type", kind)


_PROVIDERS = [
    ("cluster", "urn:ietf:params:oauth:token-type:jwt"),
    ("amazon", "urn:ietf:params:aws:token-type:aws4_request"),
    ("certificates", "urn:ietf:params:oauth:token-type:mtls"),
]
_signed_headers = st.lists(
    st.fixed_dictionaries(
        {
            "key": st.sampled_from(["Authorization", "x-amz-date", "x-goog-cloud-target-resource"])
            | values_of_json,
            "value": st.just("AWS4-HMAC-SHA256 Credential=a/b") | values_of_json,
        }
    ),
    max_size=3,
)
_signed = json_bodies(
    st.fixed_dictionaries(
        {
            "url": st.just("https://sts.amazonaws.com/?Action=GetCallerIdentity") | hostile_texts,
            "headers": _signed_headers | values_of_json,
        },
        optional={"method": st.just("POST") | values_of_json},
    )
)


def certificates() -> list[bytes]:
    """A certificate as it is, and such that it is none (RFC 5280 section 4.1)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(1))
    der = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    at = der.index(bytes.fromhex("a003020102")) + 4
    unnamed = der.replace(bytes.fromhex("03550403"), bytes.fromhex("03550404"))
    return [der, der[:at] + b"\x07" + der[at + 1 :], der[:-5], unnamed]


_chains = st.deferred(
    lambda: json_bodies(
        st.lists(
            st.sampled_from([base64.b64encode(one).decode() for one in certificates()])
            | values_of_json,
            max_size=2,
        )
        | values_of_json
    )
)


@st.composite
def exchanges(draw: st.DrawFn) -> Request:
    """Exchanges of the tokens of others (RFC 8693), with audience and type as they should be."""
    provider, kind = draw(st.sampled_from(_PROVIDERS))
    tokens: dict[str, st.SearchStrategy[Any]] = {
        "cluster": _assertions,
        "amazon": _signed,
        "certificates": _chains,
    }
    pool = f"projects/{NUMBER.decode()}/locations/global/workloadIdentityPools/orthanc"
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "audience": f"//iam.googleapis.com/{pool}/providers/{provider}",
        "scope": draw(st.just("a") | hostile_texts) or "a",
        "subject_token_type": kind,
        "subject_token": draw(tokens[provider]) or "a",
    }
    body = urlencode(form, safe="/:", errors="surrogatepass").encode()
    header = (b"Content-Type", b"application/x-www-form-urlencoded")
    return Request("POST", "/v1/token", (header,), body)


_others = st.sampled_from(
    [
        *("/", "/healthz", "/emulator/jwks", "/emulator/subject-token?format=json", "/emulator/x"),
        *(
            "/computeMetadata/v1/",
            "/computeMetadata/v1/instance?recursive=true",
            "/latest/api/token",
        ),
        *("/computeMetadata/v1/instance/service-accounts/default/token?scopes=", "/emulator/state"),
        *("/computeMetadata/v1/instance/service-accounts/default/identity?audience=x",),
        *("/latest/meta-data/iam/security-credentials/", "/emulator/overview", "/emulator/stores"),
        *("/emulator/page.js", "/emulator/settings", "/emulator/../page.js", "/emulator/%2e%2e/x"),
        *("/emulator/studies?store=1", "/emulator/series?store=1&study=1", "/emulator/instances"),
        *("/emulator/request?number=" + "9" * 5000, "/emulator/rendered?frame=-1", "*", "//"),
        *(f"/emulator/instance?study={STUDY}&series={SERIES}&instance={INSTANCES[0]}",),
    ]
)
pages = st.builds(
    lambda path, more: Request("GET", path, more),
    _others,
    st.sampled_from([(), (), ((b"Metadata-Flavor", b"Google"),), ((b"Metadata-Flavor", b""),)]),
)

# -- Cloud Storage --------------------------------------------------------------------------------

_ranges = (
    st.sampled_from(
        [
            "bytes=0-",
            "bytes=1-2",
            "bytes=-1",
            "bytes=9-1",
            "bytes=0-0,2-3",
            "bytes=" + "9" * 5000,
            "bytes 0-2/3",
            "bytes */3",
            "bytes */*",
            "bytes 0-262143/*",
            "bytes 5-2/9",
            "x",
            "bytes 0-" + "9" * 16 + "/*",
        ]
    )
    | hostile_texts
)
_object_names = st.sampled_from(["a", "b/c", "x.dcm", "f", "../a", "a/../../b", "%2e%2e%2fb"]) | (
    hostile_texts
)
_described_objects = json_bodies(
    st.fixed_dictionaries(
        {},
        optional={
            "name": st.just("a") | values_of_json,
            "contentType": hostile_texts | values_of_json,
            "cacheControl": hostile_texts | values_of_json,
            "contentDisposition": hostile_texts | values_of_json,
            "contentEncoding": hostile_texts | values_of_json,
            "metadata": st.dictionaries(hostile_texts, values_of_json, max_size=2),
            "md5Hash": values_of_json,
            "crc32c": values_of_json,
            "storageClass": hostile_texts | values_of_json,
            "customTime": hostile_texts,
        },
    )
)


@st.composite
def objects(draw: st.DrawFn) -> Request:
    """Uploads of every kind, downloads, changes and deletions of objects."""
    name = quote(draw(_object_names), safe="", errors="replace")
    of_object = f"/storage/v1/b/{BUCKET}/o/{name}"
    kind = draw(st.sampled_from(["media", "multipart", "resumable", "get", "patch", "delete"]))
    body = draw(st.binary(max_size=40))
    if kind == "get":
        path = draw(st.sampled_from([of_object, f"{of_object}?alt=media", f"/download{of_object}"]))
        request = Request("GET", path, (BEARER,))
    elif kind == "patch":
        request = Request("PATCH", of_object, (BEARER,), draw(_described_objects))
    elif kind == "delete":
        request = Request("DELETE", of_object, (BEARER,))
    else:
        if kind == "resumable":
            body = draw(_described_objects)
        if kind == "multipart":
            described = draw(_described_objects)
            body = b"--x\r\n\r\n%b\r\n--x\r\nContent-Type: a/b\r\n\r\n%b\r\n--x--" % (
                described,
                body,
            )
        target = f"/upload/storage/v1/b/{BUCKET}/o?uploadType={kind}&name={name}"
        request = Request("POST", target, (BEARER,), body)
        if kind == "multipart":
            request = request.with_header("Content-Type", "multipart/related; boundary=x")
    for header in draw(st.lists(st.sampled_from(_OF_OBJECTS), max_size=2, unique=True)):
        request = request.with_text(header, draw(_ranges))
    return request


_OF_OBJECTS = ("Range", "X-Goog-Hash", "X-Upload-Content-Length", "X-Upload-Content-Type")


def sessions(answer: bytes) -> Iterator[str]:
    """The addresses of uploads that an answer begins."""
    for found in re.finditer(rb"(?im)^location: http://[^/]+(\S+)", answer):
        yield found[1].decode()


@st.composite
def chunks(draw: st.DrawFn) -> tuple[str, bytes, str]:
    """How an upload that was begun goes on."""
    verb = draw(st.sampled_from(["PUT", "PUT", "PUT", "POST", "DELETE"]))
    return verb, draw(st.binary(max_size=40)), draw(_ranges)


def upload(
    emulator: FuzzedEmulator, request: Request, going_on: list[tuple[str, bytes, str]]
) -> None:
    """Upload an object, and go on with it where that is to be continued."""
    for address in sessions(ask(emulator, request)):
        for verb, body, content_range in going_on:
            chunk = Request(verb, address, (), body)
            ask(emulator, chunk.with_text("Content-Range", content_range))


everything = st.one_of(
    retrievals(),
    searches,
    transactions(),
    patches,
    calls(),
    grants(),
    exchanges(),
    pages,
    objects(),
).flatmap(framings)
