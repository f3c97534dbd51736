"""A connection to a server that was verified before goes on with the last session."""

from __future__ import annotations

import ssl

import pytest

from orthanc_gcp.dicomweb import DicomStore, StoreError
from orthanc_gcp.transport.authorization import Authorization
from orthanc_gcp.transport.request import Transport
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


def test_authorities_that_are_replaced_are_read_again(authority, context, tmp_path):
    """A company's proxy gets a certificate of another authority, while a worker runs for months."""
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    renewed = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    renewed.load_cert_chain(*other.issue("127.0.0.1"))

    def behave(connection, _head):
        connection.sendall(answer(b"[]", Connection="close"))
        hang_up(connection)

    with RawServer(behave, context) as server, RawServer(behave, renewed) as after:
        store = store_at(server, authority)
        assert list(store.studies()) == []
        store.url = after.url
        with pytest.raises(StoreError, match="TLS failed"):
            list(store.studies())
        whole = other.file.read_bytes()
        authority.file.write_bytes(whole[: len(whole) // 2])  # as it is being written
        with pytest.raises(StoreError, match="TLS failed"):
            list(store.studies())
        authority.file.write_bytes(whole)
        assert list(store.studies()) == []
        authority.file.unlink()
        assert list(store.studies()) == []


def test_a_certificate_of_the_client_that_is_replaced_is_read_again(authority, context):
    """Those of workload identities last for a day."""
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.file)
    shown = []

    def behave(connection, _head):
        shown.append(connection.getpeercert()["serialNumber"])
        connection.sendall(answer(b"{}", Connection="close"))
        hang_up(connection)

    with RawServer(behave, context) as server:
        transport = Transport(ca_certificates=authority.file)
        own = tuple(map(str, authority.issue("127.0.0.1")))
        for _ in range(2):
            assert transport(server.url, cert=own).status == 200
        assert tuple(map(str, authority.issue("127.0.0.1"))) == own
        assert transport(server.url, cert=own).status == 200
    assert len(shown) == 3
    assert shown[0] == shown[1] != shown[2]


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
