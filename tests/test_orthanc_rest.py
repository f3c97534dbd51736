"""The client of Orthanc's REST API, where a certificate is all that Orthanc shows."""

from __future__ import annotations

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from orthanc_gcp import configuration
from orthanc_gcp.errors import ConfigurationError, PublicationError
from orthanc_gcp.orthanc_access import fingerprint
from orthanc_gcp.orthanc_rest import OrthancRest
from tests.support.certificates import Authority


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
    with pytest.raises(PublicationError, match="SSLError"):
        OrthancRest(url, fingerprint=wrong).call("GET", "/system")


def test_a_file_without_a_certificate_is_told(tmp_path):
    (tmp_path / "certificate.pem").write_text("none")
    with pytest.raises(ConfigurationError, match="there is no certificate in"):
        fingerprint(configuration.read({}, tmp_path))
