"""The client of Orthanc's REST API, where a certificate is all that Orthanc shows."""

from __future__ import annotations

import base64
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import pytest

from orthanc_gcp import configuration
from orthanc_gcp.errors import ConfigurationError, OrthancRefusedError, OrthancUnavailableError
from orthanc_gcp.orthanc.access import fingerprint
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.support.certificates import Authority
from tests.support.orthanc import Orthanc


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


def test_a_file_without_a_certificate_is_told(tmp_path):
    (tmp_path / "certificate.pem").write_text("none")
    with pytest.raises(ConfigurationError, match="there is no certificate in"):
        fingerprint(configuration.read({}, tmp_path))


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
