"""Calls of the API that fail on demand, as clients see it: over sockets of their own."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import urllib3
from click.testing import CliRunner

from orthanc_gcp.cli import app
from orthanc_gcp.emulator.faults.fault_settings import FaultSettings
from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.client import STORE, Client, make_dicom, multipart, path_of, read
from tests.emulator.processes import running

LARGE = bytes(4_000_000)


class Raw:
    """A connection that shows every byte."""

    def __init__(self, client: Client) -> None:
        host, _, port = client.url.rpartition("/")[2].rpartition(":")
        self.token = client.token
        self.socket = socket.create_connection((host, int(port)), timeout=30)

    def send(self, verb: str, path: str, body: bytes = b"", **headers: Any) -> None:
        """Send a request, of which ``body`` may be only the beginning."""
        sent = {"Host": "x", "Authorization": f"Bearer {self.token}", **headers}
        lines = [f"{verb} /v1/{STORE}/dicomWeb{path} HTTP/1.1"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in sent.items()]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    def receive(self) -> bytes:
        """Return what comes until the connection ends; raise when it is reset instead."""
        received = b""
        while block := self.socket.recv(65536):
            received += block
        return received


@pytest.fixture
def raw(own_client: Client) -> Iterator[Raw]:
    connection = Raw(own_client)
    with closing(connection.socket):
        yield connection


@pytest.fixture
def fail(emulator: Emulator) -> Any:
    """Sets the rules of the test's own emulator."""

    def set_rules(*rules: dict[str, Any], seed: int = 0) -> None:
        emulator.fault_settings.change(faults=list(rules), seed=seed)

    return set_rules


def statuses(client: Client, number: int) -> list[int]:
    return [client.get("/studies").status for _ in range(number)]


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ("x", "object of path"),
        ({}, "does nothing"),
        ({"explode": 1}, "object of path"),
        ({"status": 399}, "status that cannot be: it is a whole number between 400 and 599"),
        ({"status": 600}, "status"),
        ({"status": True}, "status"),
        ({"status": 500, "path": "("}, "path that cannot be: it is a regular expression, but"),
        ({"status": 500, "path": 1}, "path that cannot be: it is a text"),
        ({"status": 500, "method": "BREW"}, "method that cannot be: it is one of GET, POST"),
        ({"status": 500, "probability": 1.1}, "probability that cannot be"),
        ({"status": 500, "count": -1}, "count that cannot be"),
        ({"status": 500, "skip": 0.5}, "skip that cannot be"),
        ({"delay": -1}, "delay that cannot be"),
        ({"delay": float("nan")}, "delay that cannot be"),
        ({"cut": "explode"}, "cut that cannot be: it is one of reset, resetRequest"),
        ({"cut": "reset", "afterBytes": 1}, "afterBytes, but no cut"),
        ({"cut": "reset", "status": 500}, "two ways at once"),
        ({"tokenDies": True, "lose": 1}, "two ways at once"),
        ({"lose": 0.6, "refuse": 0.5}, "more than there is"),
        ({"lose": "some"}, "lose that cannot be"),
        ({"storeThenFail": True, "lose": 1}, "both stores and does not"),
        ({"storeThenFail": True, "cut": "truncate"}, "storeThenFail, whose cut"),
        ({"storeThenFail": True, "readBody": False}, "readBody, but the request is handled"),
        ({"cut": "reset", "body": ""}, "body without a status"),
        ({"cut": "reset", "retryAfter": 1}, "retry after without a status"),
        ({"status": 500, "html": True, "body": ""}, "both html and a body"),
    ],
)
def test_rules_that_cannot_be(rule: Any, complaint: str) -> None:
    settings = FaultSettings()
    settings.change(faults=[{"status": 503}])
    before = settings.as_json()
    with pytest.raises(ValueError, match=rf"^faults has a rule 1 that .*{complaint}"):
        settings.change(latency=1, faults=[{"status": 500}, rule])
    assert settings.as_json() == before
    assert settings.current.latency == 0


def test_rules_are_a_list() -> None:
    for rules in ({"status": 500}, [{"status": 500}] * 1001):
        with pytest.raises(ValueError, match="is a list of rules, 1000 at most"):
            FaultSettings().change(faults=rules)


@pytest.mark.parametrize(
    ("status", "name", "message"),
    [
        (401, "UNAUTHENTICATED", "Request had invalid authentication credentials."),
        (403, "PERMISSION_DENIED", "The caller does not have permission"),
        (418, "UNKNOWN", "I'm a Teapot"),
        (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted"),
        (500, "INTERNAL", "Internal error encountered."),
        (502, "UNAVAILABLE", "Bad Gateway"),
        (503, "UNAVAILABLE", "The service is currently unavailable."),
        (504, "DEADLINE_EXCEEDED", "Deadline expired"),
        (599, "UNKNOWN", "Unknown Error"),
    ],
)
def test_statuses(own_client: Client, fail: Any, status: int, name: str, message: str) -> None:
    fail({"status": status})
    answer = own_client.get("/studies")
    error = answer.json()["error"]
    assert (answer.status, error["code"], error["status"]) == (status, status, name)
    assert error["message"].startswith(message)
    assert "retry-after" not in answer.headers
    assert ("www-authenticate" in answer.headers) == (status == 401)


def test_bodies_of_statuses(own_client: Client, fail: Any) -> None:
    fail(
        {"status": 429, "retryAfter": 7, "count": 1},
        {"status": 502, "html": True, "count": 1},
        {"status": 400, "body": "<no>", "contentType": "text/xml", "count": 1},
        {"status": 400, "body": "no", "count": 1},
    )
    assert own_client.get("/studies").headers["retry-after"] == "7"
    page = own_client.get("/studies")
    assert page.headers["content-type"] == "text/html; charset=UTF-8"
    assert b"<title>Error 502 (Server Error)!!1</title>" in page.data
    own = own_client.get("/studies")
    assert (own.status, own.data) == (400, b"<no>")
    assert own.headers["content-type"].startswith("text/xml")
    assert own_client.get("/studies").headers["content-type"].startswith("text/plain")
    assert own_client.get("/studies").status == 204


def test_a_status_comes_before_the_credential(
    emulator: Emulator, own_client: Client, fail: Any
) -> None:
    own_client.token = "none"
    fail({"status": 503, "count": 1}, {"lose": "all"}, {"tokenDies": True})
    assert statuses(own_client, 2) == [503, 401]
    assert [rule["used"] for rule in emulator.fault_settings.as_json()["faults"]] == [1, 1, 0]


def test_what_a_rule_is_for(own_client: Client, fail: Any) -> None:
    fail(
        {"status": 503, "path": r"/dicomWeb/series$"},
        {"status": 500, "method": "DELETE"},
        {"status": 502, "path": "series"},
    )
    assert own_client.get("/series").status == 503
    assert own_client.request("DELETE", "/studies/1/series/2").status == 500
    assert own_client.get("/studies/1/series").status == 502
    assert own_client.get("/studies").status == 204
    assert own_client.request("GET", f"{own_client.url}/nowhere/series").status == 404


def test_counts_end(emulator: Emulator, own_client: Client, fail: Any) -> None:
    fail({"status": 503, "skip": 2, "count": 2}, {"status": 500, "count": 1})
    assert statuses(own_client, 6) == [500, 204, 503, 503, 204, 204]
    first, second = emulator.fault_settings.as_json()["faults"]
    assert (first["matched"], first["used"]) == (6, 2)
    assert (second["matched"], second["used"]) == (4, 1)
    emulator.fault_settings.change(latency=0)
    assert own_client.get("/studies").status == 204
    # What is shown can be set; it begins anew.
    emulator.fault_settings.change(faults=emulator.fault_settings.as_json()["faults"])
    assert statuses(own_client, 3) == [500, 204, 503]


def test_a_seed_makes_runs_repeat(own_client: Client, fail: Any) -> None:
    rule = {"status": 503, "probability": 0.5}
    runs = []
    for seed in (1, 1, 2):
        fail(rule, seed=seed)
        runs.append(statuses(own_client, 40))
    assert runs[0] == runs[1] != runs[2]
    assert {204, 503} == set(runs[0])


def test_delay_and_latency(emulator: Emulator, own_client: Client, fail: Any) -> None:
    fail({"delay": 0.2, "method": "GET"})
    emulator.fault_settings.change(latency=0.1)
    started = time.monotonic()
    assert own_client.get("/studies").status == 204
    assert time.monotonic() - started >= 0.3


def test_a_reset_before_the_answer(raw: Raw, own_client: Client, fail: Any) -> None:
    fail({"cut": "reset"})
    raw.send("GET", "/studies")
    with pytest.raises(ConnectionResetError):
        raw.receive()
    fail()
    assert own_client.get("/studies").status == 204


def upload(raw: Raw, content: bytes, size: int | None = None) -> None:
    """Send an upload, or only the first bytes of it."""
    headers = {"Content_Type": "application/dicom", "Content_Length": len(content)}
    raw.send("POST", "/studies", content[:size], **headers)


def stored(client: Client) -> list[dict[str, Any]]:
    return client.search("/instances")


def test_a_reset_in_the_request(raw: Raw, own_client: Client, fail: Any) -> None:
    fail({"cut": "resetRequest", "method": "POST"})
    content = make_dicom(pixels=LARGE)
    # Half of it suffices: nobody waits for the rest.
    upload(raw, content, len(content) // 2)
    with pytest.raises(ConnectionResetError):
        raw.receive()
    assert stored(own_client) == []


def test_a_reset_in_the_request_keeps_what_came_whole(
    raw: Raw, own_client: Client, fail: Any
) -> None:
    first, second = make_dicom(), make_dicom()
    body = multipart([first, second], "b")
    fail({"cut": "resetRequest", "afterBytes": len(body) - 10, "method": "POST"})
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    # A body in chunks announces no length.
    chunked = b"%x\r\n%b\r\n" % (len(body), body)
    raw.send("POST", "/studies", chunked, Content_Type=kind, Transfer_Encoding="chunked")
    with pytest.raises(ConnectionResetError):
        raw.receive()
    (match,) = stored(own_client)
    assert match["00080018"]["Value"] == [read(first).SOPInstanceUID]


def test_a_reset_in_a_request_of_unknown_length(raw: Raw, own_client: Client, fail: Any) -> None:
    fail({"cut": "resetRequest", "method": "POST"})
    kind = {"Content_Type": "application/dicom", "Transfer_Encoding": "chunked"}
    raw.send("POST", "/studies", b"", **kind)
    content = make_dicom(pixels=LARGE)[:65536]
    raw.socket.sendall(b"%x\r\n%b" % (len(content) + 1, content[:-1]))
    raw.socket.settimeout(0.2)
    with pytest.raises(TimeoutError):
        raw.socket.recv(1)
    raw.socket.settimeout(30)
    raw.socket.sendall(content[-1:])
    with pytest.raises(ConnectionResetError):
        raw.receive()
    assert stored(own_client) == []


def test_a_reset_in_a_request_that_is_shorter(raw: Raw, own_client: Client, fail: Any) -> None:
    fail({"cut": "resetRequest", "afterBytes": 10**9, "count": 1})
    upload(raw, make_dicom())
    with pytest.raises(ConnectionResetError):
        raw.receive()
    assert len(stored(own_client)) == 1


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("after", [None, 5, 10**9])
def test_an_answer_that_ends_early(
    raw: Raw, own_client: Client, fail: Any, after: int | None
) -> None:
    own_client.store(make_dicom())
    whole = own_client.get("/studies").data
    fail({"cut": "truncate"} if after is None else {"cut": "truncate", "afterBytes": after})
    raw.send("GET", "/studies")
    answer = raw.receive()
    assert f"content-length: {len(whole)}\r\n".encode() in answer
    expected = len(whole) // 2 if after is None else min(after, len(whole) - 1)
    assert body_of(answer) == whole[:expected]


def test_a_stream_that_ends_early(raw: Raw, own_client: Client, fail: Any) -> None:
    large = make_dicom(pixels=LARGE)
    own_client.store(large)
    study = f"/studies/{read(large).StudyInstanceUID}"
    fail({"cut": "truncate", "afterBytes": 3_000_000, "count": 1}, {"cut": "truncate"})
    accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    for expected in (3_000_000, 65536):
        connection = Raw(own_client)
        with closing(connection.socket):
            connection.send("GET", study, Accept=accept)
            answer = body_of(connection.receive())
        assert not answer.endswith(b"0\r\n\r\n")
        assert expected < len(answer) < expected + 10_000
    with pytest.raises(urllib3.exceptions.ProtocolError):
        own_client.get(study, accept)


def test_a_small_stream_that_never_ends(own_client: Client, fail: Any) -> None:
    small = make_dicom()
    own_client.store(small)
    fail({"cut": "truncate"})
    with pytest.raises(urllib3.exceptions.ProtocolError, match=r"IncompleteRead|ended prematurely"):
        own_client.get(f"/studies/{read(small).StudyInstanceUID}")


def test_an_answer_that_is_reset(raw: Raw, own_client: Client, fail: Any) -> None:
    own_client.store(make_dicom())
    fail({"cut": "resetAnswer"})
    raw.send("GET", "/studies")
    with pytest.raises(ConnectionResetError):
        raw.receive()


def test_answers_without_a_body_are_cut_too(own_client: Client, fail: Any) -> None:
    fail({"cut": "truncate", "count": 1}, {"cut": "resetAnswer", "count": 1})
    for complaint in ("without response", "reset by peer"):
        with pytest.raises(urllib3.exceptions.ProtocolError, match=complaint):
            own_client.get("/studies")
    assert statuses(own_client, 1) == [204]


def test_an_answer_while_the_client_still_sends(raw: Raw, own_client: Client, fail: Any) -> None:
    fail({"status": 503, "readBody": False, "count": 1}, {"cut": "reset", "readBody": False})
    content = make_dicom(pixels=LARGE)
    upload(raw, content, 1000)
    assert raw.socket.recv(100).startswith(b"HTTP/1.1 503")
    raw.socket.sendall(content[1000:])
    while b"UNAVAILABLE" not in raw.socket.recv(65536):
        pass
    upload(raw, content, 1000)
    with pytest.raises(ConnectionResetError):
        raw.receive()


def test_an_answer_after_the_body(raw: Raw, own_client: Client, fail: Any) -> None:
    fail({"status": 503})
    content = make_dicom(pixels=LARGE)
    upload(raw, content, len(content) - 1)
    raw.socket.settimeout(0.2)
    with pytest.raises(TimeoutError):
        raw.socket.recv(100)
    raw.socket.settimeout(30)
    raw.socket.sendall(content[-1:])
    assert raw.socket.recv(100).startswith(b"HTTP/1.1 503")
    fail()
    assert stored(own_client) == []


def test_instances_that_are_lost(own_client: Client, fail: Any) -> None:
    files = [make_dicom() for _ in range(3)]
    fail({"lose": "all", "count": 1})
    answer = own_client.store(*files)
    references = answer.json()["00081199"]["Value"]
    assert answer.status == 200
    assert [item["00081155"]["Value"] for item in references] == [
        [read(file).SOPInstanceUID] for file in files
    ]
    assert stored(own_client) == []
    assert own_client.get(path_of(read(files[0]))).status == 403
    truth = own_client.store(*files)
    assert truth.json() == answer.json()
    assert len(stored(own_client)) == 3


def test_some_instances_are_lost_and_some_refused(own_client: Client, fail: Any) -> None:
    runs = []
    for _ in range(2):
        store = own_client.of_new_store()
        files = [make_dicom() for _ in range(40)]
        fail({"lose": 0.3, "refuse": 0.3, "method": "POST"}, seed=5)
        answer = store.store(*files)
        assert answer.status == 409
        told = answer.json()
        failed = {item["00081155"]["Value"][0] for item in told["00081198"]["Value"]}
        reasons = {item["00081197"]["Value"][0] for item in told["00081198"]["Value"]}
        acknowledged = {item["00081155"]["Value"][0] for item in told["00081199"]["Value"]}
        there = {match["00080018"]["Value"][0] for match in stored(store)}
        uids = [read(file).SOPInstanceUID for file in files]
        assert failed | acknowledged == set(uids)
        assert reasons == {272}
        details = {item["00091097"]["Value"][0] for item in told["00081198"]["Value"]}
        assert details == {"internal error"}
        assert there < acknowledged
        runs.append([(uid in failed, uid in there) for uid in uids])
    assert runs[0] == runs[1]


def test_stored_but_not_acknowledged(own_client: Client, fail: Any) -> None:
    fail(
        {"storeThenFail": True, "count": 1, "method": "POST"},
        {"storeThenFail": True, "count": 1, "method": "POST", "cut": "reset"},
        {"storeThenFail": True, "count": 1, "method": "POST", "status": 503, "retryAfter": 1},
    )
    for number in (1, 2):
        with pytest.raises(urllib3.exceptions.ProtocolError, match="reset by peer"):
            own_client.store(make_dicom())
        assert len(stored(own_client)) == number
    answer = own_client.store(make_dicom())
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert len(stored(own_client)) == 3


def test_a_token_that_dies(
    own_client: Client, emulator: Emulator, credentials: Path, fail: Any
) -> None:
    other = Client(emulator.url, credentials)
    fail({"tokenDies": True, "count": 1})
    answer = own_client.store(make_dicom())
    assert answer.status == 401
    assert answer.json()["error"]["details"][0]["reason"] == "ACCESS_TOKEN_EXPIRED"
    assert "invalid_token" in answer.headers["www-authenticate"]
    assert statuses(own_client, 2) == [401, 401]
    assert stored(other) == []
    other.pool.clear()


def test_a_token_dies_in_the_middle_of_a_request(raw: Raw, own_client: Client, fail: Any) -> None:
    fail({"tokenDies": True, "method": "POST"})
    content = make_dicom(pixels=LARGE)
    upload(raw, content, len(content) - 1)
    assert statuses(own_client, 1) == [204]
    raw.socket.sendall(content[-1:])
    assert raw.socket.recv(100).startswith(b"HTTP/1.1 401")
    assert statuses(own_client, 1) == [401]


def test_tls_connections_break_too(tmp_path: Path) -> None:
    with Emulator(Options(tmp_path, tls=True, write_credentials=tmp_path)) as emulator:
        client = Client(emulator.url, tmp_path, ca_certs=str(emulator.ca))
        client.store(make_dicom())
        for cut in ("reset", "resetRequest", "truncate", "resetAnswer"):
            emulator.fault_settings.change(faults=[{"cut": cut}])
            with pytest.raises(urllib3.exceptions.ProtocolError):
                client.get("/studies")
        client.pool.clear()


def test_settings_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"faults": [{"status": 503, "count": 1}], "seed": 3}))
    more = ("--fault", '{"status": 500, "count": 1}', "--fault", '{"status": 504, "count": 1}')
    with running(tmp_path / "data", "--fault-settings", str(path), *more) as process:
        client = Client(process.url, tmp_path / "data")
        assert statuses(client, 4) == [503, 500, 504, 204]
        client.pool.clear()


@pytest.mark.parametrize(
    ("content", "arguments", "complaint"),
    [
        ("[]", (), "a JSON object is expected"),
        ("{", (), "a JSON object is expected"),
        ('{"nothing": 1}', (), "there is no fault setting 'nothing'"),
        ("{}", ("--fault", '{"status": 1}'), "faults has a rule 0"),
        ("{}", ("--fault", "x"), "a JSON object is expected"),
        ('{"faults": 1}', ("--fault", "{}"), "faults is a list of rules"),
    ],
)
def test_settings_that_stop_the_start(
    tmp_path: Path, content: str, arguments: tuple[str, ...], complaint: str
) -> None:
    path = tmp_path / "settings.json"
    path.write_text(content)
    options = ("--directory", str(tmp_path / "data"), "--fault-settings", str(path), *arguments)
    done = CliRunner().invoke(app, ["emulator", *options])
    assert done.exit_code == 2
    assert complaint in " ".join(done.output.replace("│", "").split())
