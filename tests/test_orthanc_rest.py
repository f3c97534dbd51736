"""The client of Orthanc's REST API, where a certificate is all that Orthanc shows."""

from __future__ import annotations

import hashlib
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from orthanc_gcp.errors import PublicationError
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
    der = ssl.PEM_cert_to_DER_cert(certificate.read_text())
    yield f"https://127.0.0.1:{server.server_port}/", hashlib.sha256(der).hexdigest()
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_certificate_that_is_expected_is_trusted(server):
    url, fingerprint = server
    rest = OrthancRest(url, fingerprint=fingerprint)
    assert rest.call("GET", "/system") == {"Name": "own"}


@pytest.mark.parametrize("wrong", ["0" * 64, ""])
def test_no_other_certificate_is_trusted(server, wrong):
    url, _ = server
    with pytest.raises(PublicationError, match="SSLError"):
        OrthancRest(url, fingerprint=wrong).call("GET", "/system")
