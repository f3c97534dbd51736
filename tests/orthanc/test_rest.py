"""The client of Orthanc's REST API, where a certificate is all that Orthanc shows."""

from __future__ import annotations

import base64
import hashlib
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import pytest

from orthanc_gcp import configuration
from orthanc_gcp.errors import (
    ConfigurationError,
    DefinitionError,
    OrthancGoneError,
    OrthancRefusedError,
    OrthancUnavailableError,
)
from orthanc_gcp.orthanc.access import fingerprint
from orthanc_gcp.orthanc.rest import OrthancRest, RestDicomWeb
from tests.orthanc.orthanc_stub import stub
from tests.support.certificates import Authority
from tests.support.orthanc import Orthanc, free_port
from tests.support.raw_server import Forgetful, RawServer, answer, closes, reset
from tests.support.site import make_instance
from tests.transport.test_deadlines import HEADS, LIMIT, says_slowly


class System(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "15")
        self.end_headers()
        self.wfile.write(b'{"Name": "own"}')

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    """One whose certificate is out of date and of another address."""
    certificate, key = Authority(tmp_path).issue("10.9.8.7", days=-1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), System)
    server.handle_error = lambda *_: None
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    # As Orthanc wants it: both in one file, beside its configuration.
    (tmp_path / "both.pem").write_text(key.read_text() + certificate.read_text())
    settings = configuration.read({"SslCertificate": "both.pem"}, tmp_path)
    yield f"https://127.0.0.1:{server.server_port}/", fingerprint(settings)
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_certificate_that_is_expected_is_trusted(server):
    url, shown = server
    rest = OrthancRest(url, fingerprint=shown)
    assert rest.call("GET", "/system") == {"Name": "own"}


@pytest.mark.parametrize("wrong", ["0" * 64, ""])
def test_no_other_certificate_is_trusted(server, wrong):
    url, _ = server
    with pytest.raises(OrthancUnavailableError, match="SSLError"):
        OrthancRest(url, fingerprint=wrong).call("GET", "/system")


# -- Users and passwords --------------------------------------------------------------------------

PASSWORD = "pä$$ wörd@:/#"
USERS = {"ärztin": PASSWORD, "raw": "pä$$ wörd@:x@", "percent": "100%", "colon": ":"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """Orthanc with users whose passwords are not plain ASCII."""
    configuration = {"AuthenticationEnabled": True, "RegisteredUsers": USERS}
    orthanc = Orthanc(tmp_path_factory.mktemp("guarded") / "o", configuration, plugins=())
    user = base64.b64encode(f"ärztin:{PASSWORD}".encode()).decode()
    orthanc._authorization = {"Authorization": f"Basic {user}"}
    with orthanc:
        yield orthanc.url.removeprefix("http://")


@pytest.mark.parametrize("user", USERS)
def test_a_user_and_a_password_that_are_percent_encoded(guarded, user):
    url = f"http://{quote(user)}:{quote(USERS[user], safe='')}@{guarded}/"
    rest = OrthancRest(url)
    assert rest.call("GET", "/system")["Name"] == "test"
    assert rest.url == f"http://{guarded}"


def test_many_texts_of_an_orthanc_with_users(guarded):
    paths = ["/patients", "/studies", "/no/such"]
    texts = OrthancRest(f"http://percent:{quote('100%')}@{guarded}").texts(paths)
    assert texts == ["[]", "[]", None]
    refused = OrthancRest(f"http://{guarded}").texts(paths)
    assert [error.status for error in refused] == [401, 401, 401]


def test_small_files_are_given_one_after_the_other(guarded):
    files = [make_instance(size=1) for _ in range(40)]
    rest = OrthancRest(f"http://percent:{quote('100%')}@{guarded}/")
    answers = list(rest.upload_each("/instances", [*files, b"no file", files[0]]))
    said = [(status, answer.get("Status")) for status, answer in answers]
    assert said == [(200, "Success")] * 40 + [(400, None), (200, "AlreadyStored")]
    found = {
        rest.text(f"/instances/{answer['ID']}/attachments/dicom/md5") for _, answer in answers[:40]
    }
    assert found == {hashlib.md5(file).hexdigest() for file in files}
    assert list(rest.upload_each("/instances", [])) == []
    with pytest.raises(OrthancRefusedError):
        list(OrthancRest(f"http://{guarded}").upload_each("/instances", files[:2]))


@pytest.mark.parametrize("user", ["raw", "percent", "colon"])
def test_a_user_and_a_password_as_they_are(guarded, user):
    rest = OrthancRest(f"http://{user}:{USERS[user]}@{guarded}")
    assert rest.call("GET", "/system")["Name"] == "test"
    assert rest.url == f"http://{guarded}"


def test_a_wrong_password_is_not_told(guarded):
    with pytest.raises(OrthancRefusedError, match="wants a user and password") as caught:
        OrthancRest(f"http://ärztin:p@ss-1@{guarded}").call("GET", "/system")
    assert "ss-1" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{PASSWORD}@localhost:8042/",
        "http://user:secret-1/x@localhost:8042/",
        "http://user:12/secret-1@localhost:8042/",
        "http://user:secret-1?@localhost:8042/",
        "http://user:secret-1:localhost:8042/",
        "http://localhost:8042/?secret-1",
        "user:secret-1@localhost:8042",
        "ftp://user:secret-1@localhost/",
        "http://",
        "",
    ],
)
def test_an_address_that_cannot_be_read_is_not_told(url):
    with pytest.raises(ConfigurationError, match="Orthanc's address: expected") as caught:
        OrthancRest(url)
    for secret in ("secret-1", "wörd", "12"):
        assert secret not in str(caught.value)


# -- Answers --------------------------------------------------------------------------------------


def test_what_orthanc_answers():
    with stub({"GET /system": {"Name": "x"}, "POST /tools/x": lambda body: [body]}) as server:
        rest = OrthancRest(server.url, authorization="Bearer hush")
        assert rest.call("GET", "/system") == {"Name": "x"}
        assert rest.call("POST", "/tools/x", {"a": 1}) == [{"a": 1}]
        assert rest.call("GET", "/nothing") is None
        assert server.requests[0][2]["Authorization"] == "Bearer hush"


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (500, OrthancRefusedError, "answered 500 to GET /x"),
        (401, OrthancRefusedError, "wants a user and password"),
        (b"<html>", OrthancUnavailableError, "is not an Orthanc"),
    ],
)
def test_what_is_no_answer(answer, error, words):
    with stub({"GET /x": answer}) as server, pytest.raises(error, match=words) as caught:
        OrthancRest(server.url).call("GET", "/x")
    assert caught.value.status == (answer if isinstance(answer, int) else None)


def test_an_orthanc_that_is_not_there():
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(OrthancUnavailableError, match=f"{url} does not answer"):
        OrthancRest(url).call("GET", "/system")
    with pytest.raises(OrthancUnavailableError), OrthancRest(url).read("/x"):
        pass


def test_a_file_is_read_in_pieces():
    content = b"DICM" * 200_000
    with stub({"GET /file": content, "GET /bad": 500}) as server:
        rest = OrthancRest(server.url)
        for _ in range(2):
            with rest.read("/file") as pieces:
                assert b"".join(pieces) == content
        with pytest.raises(OrthancGoneError) as caught, rest.read("/gone"):
            pass
        assert caught.value.status == 404
        with pytest.raises(OrthancRefusedError, match="answered 500"), rest.read("/bad"):
            pass


def test_a_file_that_breaks_off():
    with stub({"GET /file": b"DICM"}) as server:
        server.length = 5
        with (
            pytest.raises(OrthancUnavailableError, match="does not answer"),
            OrthancRest(server.url, timeout=0.5).read("/file") as pieces,
        ):
            list(pieces)


# -- Connections that are used again --------------------------------------------------------------

ASKED = [("GET", "/system"), ("POST", "/tools/find"), ("PUT", "/patients/x/protected")]


def resets(connection, _head):
    reset(connection)


@pytest.mark.parametrize("second", [closes, resets])
def test_what_an_orthanc_that_ends_idle_connections_did_not_take_is_asked_again(second):
    """It does so after a second (``KeepAliveTimeout``), maybe just when it is asked."""
    with Forgetful(second) as server:
        rest = OrthancRest(f"http://127.0.0.1:{server.port}")
        for method, path in ASKED:
            assert rest.call(method, path, None if method == "GET" else {}) == []
            with rest.read("/instances/x/file") as pieces:
                assert b"".join(pieces) == b"[]"
    assert server.connections == 2 * len(ASKED)


def test_what_orthanc_may_have_taken_is_not_sent_twice():
    with Forgetful(closes) as server:
        rest = OrthancRest(f"http://127.0.0.1:{server.port}")
        assert rest.call("GET", "/system") == []
        with pytest.raises(OrthancUnavailableError):
            rest.call("POST", "/modalities/x/store", {})
        assert rest.call("GET", "/system") == []
        with pytest.raises(OrthancUnavailableError):
            rest.upload("/instances", b"DICM")
    assert len(server.heads) == 4


def test_an_orthanc_that_ends_each_connection_is_not_asked_again_and_again():
    with RawServer(closes) as server, pytest.raises(OrthancUnavailableError):
        OrthancRest(f"http://127.0.0.1:{server.port}").call("GET", "/system")
    assert len(server.heads) == 1


@pytest.mark.parametrize("reads", [0, 1])
def test_a_connection_of_a_file_that_is_not_read_to_its_end_is_not_used_again(reads):
    """Even where no more of it has come yet."""

    def behave(connection, head):
        is_file = b"/file" in head.splitlines()[0]
        begin = answer(b"DICM" * 65536, length=1 << 30)
        connection.sendall(begin if is_file else answer(b"[]"))

    with RawServer(behave) as server:
        rest = OrthancRest(f"http://127.0.0.1:{server.port}", connections=1)
        for _ in range(2):
            with rest.read("/instances/x/file") as pieces:
                size = sum(len(next(pieces)) for _ in range(reads))
            assert size == reads * 4 * 65536
            assert rest.call("GET", "/system") == []


# -- The DICOMweb plugin --------------------------------------------------------------------------


def test_the_dicomweb_plugin():
    servers = {"a b": {"Url": "http://x"}}
    answers = {
        "GET /plugins/dicom-web": {"Version": "1.7"},
        "GET /dicom-web/servers?expand": servers,
        "PUT /dicom-web/servers/a%20b": {},
        "DELETE /dicom-web/servers/a%20b": {},
    }
    with stub(answers) as server:
        plugin = RestDicomWeb(OrthancRest(server.url), "/dicom-web/servers/")
        assert plugin.version() == "1.7"
        assert plugin.shown() == servers
        plugin.put("a b", {"Url": "http://x"})
        plugin.delete("a b")
        assert server.requests[2][:2] == ("PUT /dicom-web/servers/a%20b", {"Url": "http://x"})


def test_an_orthanc_without_the_dicomweb_plugin():
    with stub({"GET /dicom-web/servers?expand": []}) as server:
        plugin = RestDicomWeb(OrthancRest(server.url), "/dicom-web/servers/")
        assert plugin.version() is None
        assert plugin.shown() is None
        with pytest.raises(DefinitionError, match="does not serve its servers"):
            plugin.put("a", {})


# -- Answers without end --------------------------------------------------------------------------

BODIES = {
    "a body that drips": [(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b" "), (b"{}", b"")],
    "chunks that drip": [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (b"2\r\n{}\r\n0\r\n\r\n", b""),
    ],
    "an error that drips": [(b"HTTP/1.1 500 No\r\nContent-Length: 1000\r\n\r\n", b" ")],
}
ENDLESS = {**HEADS, **BODIES}


@pytest.mark.parametrize("said", ENDLESS.values(), ids=ENDLESS.keys())
def test_an_answer_without_end_has_its_time(monkeypatch, said):
    monkeypatch.setattr("http.client._MAXHEADERS", 10_000)
    with says_slowly(*said) as server:
        rest = OrthancRest(server.url, timeout=LIMIT)
        with pytest.raises(OrthancUnavailableError) as caught:
            rest.call("GET", "/system")
    assert caught.value.timed_out


@pytest.mark.parametrize("name", ["processing", "a body that drips", "chunks that drip"])
def test_and_so_has_a_file(name):
    with says_slowly(*ENDLESS[name]) as server:
        rest = OrthancRest(server.url, timeout=LIMIT)
        with (
            pytest.raises(OrthancUnavailableError) as caught,
            rest.read("/instances/1/file") as pieces,
        ):
            assert len(b"".join(pieces)) < 0
    assert caught.value.timed_out


def test_interim_answers_are_none():
    said = b"HTTP/1.1 100 Continue\r\n\r\n" + b"HTTP/1.1 102 Processing\r\nX: 1\r\n\r\n" * 3
    with RawServer(lambda connection, _: connection.sendall(said + answer(b"[1]"))) as server:
        rest = OrthancRest(server.url, timeout=5)
        assert [rest.call("GET", "/x") for _ in range(3)] == [[1]] * 3
        with rest.read("/x") as pieces:
            assert b"".join(pieces) == b"[1]"


def test_an_answer_that_is_too_long_for_the_memory_is_none(monkeypatch):
    monkeypatch.setattr("orthanc_gcp.orthanc.rest.LONGEST_ANSWER", 1_000_000)
    with stub({"GET /x": b" " * 1_000_001, "GET /y": b" " * 999_998 + b"{}"}) as server:
        rest = OrthancRest(server.url)
        assert rest.call("GET", "/y") == {}
        with pytest.raises(OrthancUnavailableError, match="does not end"):
            rest.call("GET", "/x")
        with rest.read("/x") as pieces:
            assert sum(map(len, pieces)) == 1_000_001


def test_many_texts_where_no_pipeline_gets_through(tmp_path):
    """A server closes each connection after an answer, as proxies do that know no pipelines."""
    asked: list[str] = []

    class Closing(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(self.path)
            number = int(self.path.rpartition("/")[2])
            self.send_response({3: 404, 4: 500}.get(number, 200))
            self.send_header("Content-Length", "1")
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b"x")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Closing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        rest = OrthancRest(f"http://127.0.0.1:{server.server_port}/base/")
        paths = [f"/one/{number}" for number in range(6)]
        found = rest.texts(paths)
        server.shutdown()
    assert found[:4] == ["x", "x", "x", None]
    assert isinstance(found[4], OrthancRefusedError)
    assert found[5] == "x"
    assert set(asked) == {f"/base{path}" for path in paths}


@pytest.mark.parametrize("is_there", [True, False])
def test_texts_that_are_never_answered_are_in_the_way_of_no_other(is_there):
    """As long as anything is answered at all."""
    asked: list[str] = []

    def answers(connection, head):
        asked.append(head.split()[1].decode())
        odd = asked[-1].startswith("/odd") or (asked[-1].startswith("/changes") and not is_there)
        if odd:
            connection.close()
        else:
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
            )

    with RawServer(answers) as server:
        rest = OrthancRest(f"http://127.0.0.1:{server.port}")
        if not is_there:
            with pytest.raises(OrthancUnavailableError):
                rest.texts(["/1", "/odd1", "/2"])
            return
        found = rest.texts(["/1", "/odd1", "/2", "/odd2", "/odd3", "/3"])
    said = [getattr(one, "status", one) for one in found]
    assert said == ["{}", 504, "{}", 504, 504, 504]
    assert "/3" not in asked


@pytest.mark.parametrize("answered", [0, 1, 3])
def test_small_files_where_connections_end(answered):
    """The server reads a request, and answers some on each connection: none is lost."""
    taken: list[bytes] = []

    class Closing(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        count = 0

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.count += 1
            single = self.headers.get("User-Agent") is not None  # urllib3's own
            if self.count > answered and not single:
                self.close_connection = True
                return
            taken.append(body)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body) + 2))
            self.end_headers()
            self.wfile.write(b'"' + body + b'"')

        def log_message(self, *_: object) -> None:
            pass

    bodies = [b"%d" % number for number in range(7)]
    with ThreadingHTTPServer(("127.0.0.1", 0), Closing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        rest = OrthancRest(f"http://127.0.0.1:{server.server_port}/")
        found = list(rest.upload_each("/instances", bodies))
        server.shutdown()
    assert found == [(200, body.decode()) for body in bodies]
    assert set(taken) == set(bodies)


def test_small_files_for_an_orthanc_that_is_not_there():
    rest = OrthancRest("http://127.0.0.1:9/")
    with pytest.raises(OrthancUnavailableError):
        next(rest.upload_each("/instances", [b"a", b"b"]))
    assert rest._pipelines, "it may know them when it is there"
