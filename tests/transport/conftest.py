"""A token endpoint behind TLS."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pytest

from tests.support.certificates import Authority
from tests.support.token_server import TokenServer


@pytest.fixture
def tls_server(tmp_path) -> Iterator[tuple[TokenServer, Authority]]:
    authority = Authority(tmp_path)
    with TokenServer() as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue("127.0.0.1"))
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.url = server.url.replace("http:", "https:")
        yield server, authority
