"""The MD5 that real Orthancs have of what they received, and how newer ones answer."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from orthanc_gcp.errors import OrthancRefusedError, OrthancUnavailableError
from orthanc_gcp.orthanc.checksums import Attachment, Checksums
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.support.orthanc import Orthanc, free_port
from tests.support.sent import dataset
from tests.support.site import make_instance

MD5 = "0123456789abcdef" * 2
UNKNOWN = "-".join(["00000000"] * 5)


@pytest.fixture
def orthanc(tmp_path):
    with Orthanc(tmp_path, {"StorageCompression": True}, plugins=()) as running:
        yield running


def test_each_has_the_md5_of_its_file_before_compression(orthanc):
    files = [make_instance() for _ in range(3)]
    uploaded = {orthanc.json("POST", "/instances", file)["ID"]: file for file in files}
    uids = {name: str(dataset(file).SOPInstanceUID) for name, file in uploaded.items()}
    expected = {
        name: hashlib.md5(file, usedforsecurity=False).hexdigest()
        for name, file in uploaded.items()
    }
    checksums = Checksums(OrthancRest(orthanc.url))
    for _ in range(2):  # once it is known whether many can be asked for
        assert checksums.md5s({**uids, UNKNOWN: "1.2.3"}) == expected
    for name, md5 in expected.items():
        assert checksums.attachment(name).md5 == md5
    assert checksums.attachment(UNKNOWN) is None


def test_an_orthanc_that_computes_none(tmp_path):
    with Orthanc(tmp_path, {"StoreMD5ForAttachments": False}, plugins=()) as orthanc:
        name = orthanc.json("POST", "/instances", make_instance())["ID"]
        checksums = Checksums(OrthancRest(orthanc.url))
        assert checksums.md5s({name: "1.2"}) == {}
        found = checksums.attachment(name)
        assert (found.md5, len(found.uuid)) == ("", 36)


def test_one_that_is_away():
    checksums = Checksums(OrthancRest(f"http://127.0.0.1:{free_port()}"))
    for wanted in ({"a": "1"}, {"a": "1", "b": "2"}):
        with pytest.raises(OrthancUnavailableError):
            checksums.md5s(wanted)


class Answers(BaseHTTPRequestHandler):
    """An Orthanc that answers as it is told; every request is noted."""

    protocol_version = "HTTP/1.1"
    found: object = []
    status = 200
    asked: list[str]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(self.status, json.dumps(self.found))

    def do_GET(self) -> None:
        if "refused" in self.path:
            self._answer(500, "{}")
        elif self.path.endswith("/info"):
            self._answer(200, json.dumps(self.found))
        else:
            self._answer(200, MD5)

    def _answer(self, status: int, text: str) -> None:
        self.asked.append(self.path)
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def answers():
    """Makes an Orthanc that answers so; its checksums, and what was asked for."""
    ends = []

    def make(found: object, status: int = 200) -> tuple[Checksums, list[str]]:
        values = {"found": found, "status": status, "asked": []}
        kind = type("Own", (Answers,), values)
        server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        ends.extend([server.shutdown, server.server_close])
        return Checksums(OrthancRest(f"http://127.0.0.1:{server.server_port}")), kind.asked

    yield make
    for end in ends:
        end()


def entry(name: str, **more: object) -> dict[str, object]:
    """An instance as Orthanc 1.12.7 and 1.13.0 find it."""
    file = {
        "CompressedMD5": "c" * 32,
        "CompressedSize": 7,
        "ContentType": 1,
        "UncompressedMD5": MD5,
        "UncompressedSize": 4854,
        "Uuid": "508d21ce-0bd9-46bf-829e-524772b5c354",
    }
    return {"Attachments": [{**file, **more}], "ID": name, "Type": "Instance"}


def test_newer_ones_have_many_in_one_answer(answers):
    wanted = {f"i{number}": f"1.{number}" for number in range(450)}
    checksums, asked = answers([entry(name) for name in (*wanted, "of another patient")])
    assert checksums.md5s(wanted) == dict.fromkeys(wanted, MD5)
    assert asked == ["/tools/find"] * 3


def test_what_is_not_found_is_asked_for(answers):
    others = [entry("b", ContentType=4096), entry("c", UncompressedMD5="")]
    checksums, asked = answers([entry("a"), *others])
    wanted = {"a": "1", "b": "2", "c": "3", "refused": "4"}
    found = checksums.md5s(wanted)
    assert isinstance(found.pop("refused"), OrthancRefusedError)
    assert found == dict.fromkeys("abc", MD5)
    assert len(asked) == 4, "what is not answered plainly is asked for once more, with care"


def test_the_md5_of_nothing_is_none(answers):
    """Orthanc 1.10.1 says it of each file of 2 GiB and more."""
    nothing = hashlib.md5(b"", usedforsecurity=False).hexdigest()
    checksums, _ = answers({"Uuid": "u", "UncompressedMD5": nothing})
    assert checksums.attachment("a") == Attachment("u", "")


@pytest.mark.parametrize("found", [["a", "b"], {}, 7, [{"ID": "a"}], [None], [{"Attachments": 1}]])
def test_older_ones_are_asked_for_each(answers, found):
    checksums, asked = answers(found)
    for _ in range(2):
        assert checksums.md5s({"a": "1", "b": "2"}) == {"a": MD5, "b": MD5}
    assert asked.count("/tools/find") <= 2


def test_a_question_that_is_refused_does_not_end_it(answers):
    checksums, _ = answers([], status=400)
    assert checksums.md5s({"a": "1", "b": "*"}) == {"a": MD5, "b": MD5}


@pytest.mark.parametrize("info", [[], 7, {"Uuid": None, "UncompressedMD5": ["x"]}])
def test_a_description_that_is_none(answers, info):
    checksums, _ = answers(info)
    assert checksums.attachment("a").md5 == ""
    assert isinstance(checksums.attachment("a"), Attachment)
