"""A connection to a server that was verified before goes on with the last session."""

from __future__ import annotations

import ssl

import pytest

from orthanc_gcp.dicomweb import DicomStore, StoreError
from orthanc_gcp.transport.authorization import Authorization
from orthanc_gcp.transport.tls_sessions import MOST_HOSTS, ResumingContext
from tests.support.certificates import Authority
from tests.support.raw_server import RawServer, answer, hang_up


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def context(authority):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(*authority.issue("127.0.0.1"))
    return made


def store_at(server, authority, **options):
    return DicomStore(
        server.url, lambda: Authorization("t"), ca_certificates=authority.file, **options
    )


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_new_connection_resumes_the_session_of_the_last(authority, context, version):
    context.maximum_version = version
    resumed = []

    def behave(connection, _head):
        resumed.append(connection.session_reused)
        connection.sendall(answer(b"[]", Connection="close"))
        hang_up(connection)

    with RawServer(behave, context) as server:
        store = store_at(server, authority)
        for _ in range(3):
            assert list(store.studies()) == []
        other = store_at(server, authority)
        assert list(other.studies()) == []
    assert resumed == [False, True, True, False]


def test_a_connection_that_stays_open_is_used_again(authority, context):
    connections = []

    def behave(connection, _head):
        connections.append(connection)
        connection.sendall(answer(b"[]"))

    with RawServer(behave, context) as server:
        store = store_at(server, authority)
        for _ in range(3):
            assert list(store.studies()) == []
        store.close()
    assert len(set(map(id, connections))) == 1


def test_a_server_that_is_not_trusted_is_not_after_another_was(authority, context, tmp_path):
    """A session serves the host that it is of, and only where that was verified."""
    (tmp_path / "other").mkdir()
    unknown = Authority(tmp_path / "other")
    with RawServer(lambda connection, _: connection.sendall(answer(b"[]")), context) as server:
        assert list(store_at(server, authority).studies()) == []
        with pytest.raises(StoreError, match="TLS failed"):
            list(store_at(server, unknown).studies())


def test_sessions_of_few_hosts_are_remembered(authority, context):
    made = ResumingContext.verifying(authority.file)

    class Answered:
        class session:  # noqa: N801
            has_ticket = True

        server_hostname = ""

    for number in range(2 * MOST_HOSTS):
        Answered.server_hostname = f"host{number}"
        made.remember(Answered)
    made.remember(object())
    assert len(made._sessions) == MOST_HOSTS
