"""Requests that no client should send: answered, and never with a 500."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.emulator.client import DICOM_JSON, MULTIPART, Client, make_dicom, path_of, read, sample

FINE = {200, 204, 400, 401, 403, 404, 406, 409}


bounded = settings(
    max_examples=150,
    deadline=5000,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


DICOM = make_dicom()


METADATA = {
    **read(DICOM).file_meta.to_json_dict(),
    **read(DICOM).to_json_dict(),
    "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
    "7FE00010": {"vr": "OB"},
}


TOKENS = [
    b"--",
    b"--x",
    b"--x--",
    b"\r\n",
    b"\r\n--x\r\n",
    b"Content-Type: application/dicom",
    DICOM,
]


pieces = st.lists(st.sampled_from(TOKENS) | st.binary(max_size=60), max_size=12)


@bounded
@given(pieces, st.booleans())
def test_multipart(client: Client, body: list[bytes], chunked: bool) -> None:
    def chunks() -> Iterator[bytes]:
        yield from (piece for piece in body if piece)

    response = client.request(
        "POST",
        "/studies",
        chunks() if chunked else b"".join(body),
        content_type=f"{MULTIPART}; boundary=x",
        accept=DICOM_JSON,
    )
    assert response.status in {200, 400, 409}


@bounded
@given(st.data(), st.sampled_from([DICOM, sample("test-SR.dcm"), sample("rtplan.dcm")]))
def test_dicom(client: Client, data: st.DataObject, original: bytes) -> None:
    content = bytearray(original)
    places = st.integers(0, len(content) - 1)
    for at, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=6)):
        content[at] = value
    body = bytes(content[: data.draw(st.integers(0, len(content)))])
    response = client.request("POST", "/studies", body, content_type="application/dicom")
    assert response.status in {200, 409}
    for fields in ("all", "PixelData,RescaleSlope,00020010"):
        for match in client.search("/instances", includefield=fields, limit="5"):
            assert match["00081190"]["Value"]
    for study in client.search("/studies"):
        path = study["00081190"]["Value"][0]
        assert client.get(f"{path}/metadata").status == 200
        assert client.get(path).status in {200, 400, 406}
        for instance in client.search(f"{path}/instances"):
            image = instance["00081190"]["Value"][0]
            assert client.get(f"{image}/frames/1").status in {200, 400, 406}
            assert client.get(f"{image}/bulkdata/7FE00010").status in {200, 403}
            url = f"{image.replace('/v1/', '/v1beta1/')}/metadata"
            named = {
                "op": "add",
                "path": "/00100010",
                "value": {"vr": "PN", "Value": [{"Alphabetic": "é"}]},
            }
            assert client.request("PATCH", url, json.dumps([named])).status in {200, 400}
        assert client.request("DELETE", path).status == 200
    for path in ("/instances?includefield=all", "/studies?PatientName=a&fuzzymatching=true"):
        assert client.get(path).status in {200, 204}


values = st.recursive(
    st.none() | st.integers() | st.text(max_size=8) | st.sampled_from(["UI", "SQ", "OW", "DS"]),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(["vr", "Value", "BulkDataURI", "InlineBinary", "00080018"]),
            children,
            max_size=3,
        )
    ),
    max_leaves=8,
)


tags = st.sampled_from(["00020010", "00080005", "00080018", "0020000D", "00280010", "7FE00010"])


@bounded
@given(st.dictionaries(tags | st.text(max_size=9), values, max_size=3))
def test_metadata(client: Client, changes: dict[str, object]) -> None:
    model = {**METADATA, **changes}
    head = b"--x\r\nContent-Type: application/dicom+json\r\n\r\n"
    response = client.request(
        "POST",
        "/studies",
        head + json.dumps([model]).encode() + b"\r\n--x--",
        content_type=f'multipart/related; type="{DICOM_JSON}"; boundary=x',
    )
    assert response.status in {200, 400, 409}
    if response.status != 400:
        ElementTree.fromstring(response.data)


pointers = st.sampled_from(
    ["", "/00100010", "/00100010/Value/0", "/00100010/vr", "/00081140/Value/-", "/x", "/7FE00010"]
)


operations = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]), "path": pointers},
    optional={"from": pointers, "value": values},
)


@pytest.fixture(scope="module")
def patched(shared_client: Client) -> tuple[Client, str]:
    """A client, and the address of an instance's metadata."""
    client = shared_client.of_new_store()
    assert client.store(DICOM).status == 200
    return client, f"{client.web.replace('/v1/', '/v1beta1/')}{path_of(read(DICOM))}/metadata"


@bounded
@given(st.lists(operations, max_size=4) | values)
def test_patches(patched: tuple[Client, str], changes: object) -> None:
    client, url = patched
    assert client.request("PATCH", url, json.dumps(changes)).status in {200, 400}
    assert client.get(url).status == 200
    assert client.get(url.removesuffix("/metadata")).status in {200, 400}
    assert len(client.search("/instances")) == 1


header = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)


@bounded
@given(header, header, header, st.sampled_from(["GET", "POST", "DELETE"]))
def test_headers(client: Client, accept: str, kind: str, host: str, verb: str) -> None:
    response = client.request(verb, "/studies", b"", accept=accept, content_type=kind, host=host)
    assert response.status in FINE | {421}


@bounded
@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_paths_and_queries(client: Client, segment: str, name: str, value: str) -> None:
    path = f"/studies/{quote(segment)}/series?{urlencode({name: value})}"
    assert client.get(path).status in FINE
