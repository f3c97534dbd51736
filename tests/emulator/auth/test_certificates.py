"""Certificates: whom they are for, how long, and when they are made anew."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from orthanc_gcp.emulator.auth import certificates
from orthanc_gcp.emulator.auth.certificates import (
    GOOGLE_HOSTS,
    Certificates,
    HostNameError,
    ensure_certificates,
    host_names,
    make_workload_certificate,
)


def subject(name: str) -> x509.verification.Subject:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def verify(files: Certificates, name: str) -> None:
    """Verify the server's certificate as a client does that trusts the authority."""
    authority = x509.load_pem_x509_certificate(files.ca.read_bytes())
    leaf = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    verifier = PolicyBuilder().store(Store([authority])).build_server_verifier(subject(name))
    verifier.verify(leaf, [])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "named.example.org"])
def test_a_client_that_trusts_the_authority(tmp_path: Path, name: str) -> None:
    verify(ensure_certificates(tmp_path, ["named.example.org"]), name)


def test_a_name_that_is_not_in_it(tmp_path: Path) -> None:
    files = ensure_certificates(tmp_path, [])
    with pytest.raises(VerificationError):
        verify(files, "named.example.org")


def test_the_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    files = ensure_certificates(tmp_path, [])
    for key in (files.key, tmp_path / "ca.key"):
        assert key.stat().st_mode & 0o777 == 0o600


def test_what_is_there_and_good_stays(tmp_path: Path) -> None:
    ensure_certificates(tmp_path, ["one.example.org"])
    before = contents(tmp_path)
    ensure_certificates(tmp_path, [])
    assert contents(tmp_path) == before


def test_another_name_is_another_certificate_of_the_same_authority(tmp_path: Path) -> None:
    ensure_certificates(tmp_path, [])
    before = contents(tmp_path)
    verify(ensure_certificates(tmp_path, ["one.example.org"]), "one.example.org")
    after = contents(tmp_path)
    assert {name for name in after if after[name] != before[name]} == {"server.pem", "server.key"}


def test_a_certificate_that_ends_soon_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "_LEAF_LIFETIME", timedelta(days=20))
    first = ensure_certificates(tmp_path, []).certificate.read_bytes()
    monkeypatch.undo()
    files = ensure_certificates(tmp_path, [])
    assert files.certificate.read_bytes() != first
    leaf = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    assert timedelta(days=800) < leaf.not_valid_after_utc - datetime.now(UTC) < timedelta(days=825)


@pytest.mark.parametrize("missing", ["server.pem", "server.key", "ca.pem", "ca.key"])
def test_what_is_missing_is_made(tmp_path: Path, missing: str) -> None:
    ensure_certificates(tmp_path, [])
    (tmp_path / missing).unlink()
    verify(ensure_certificates(tmp_path, []), "localhost")


def test_an_authority_with_another_key(tmp_path: Path) -> None:
    ensure_certificates(tmp_path, [])
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (tmp_path / "ca.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    with pytest.raises(TypeError, match="emulator's CA"):
        ensure_certificates(tmp_path, ["another.example.org"])


def test_the_certificate_of_a_workload(tmp_path: Path) -> None:
    path, key_path = tmp_path / "workload.pem", tmp_path / "workload.key"
    make_workload_certificate(path, key_path)
    before = contents(tmp_path)
    certificate = x509.load_pem_x509_certificate(before["workload.pem"])
    key = serialization.load_pem_private_key(before["workload.key"], None)
    assert certificate.public_key() == key.public_key()
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    make_workload_certificate(path, key_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("localhost", "localhost"),
        ("Store.Example.ORG.", "store.example.org"),
        ("*.Example.org", "*.example.org"),
        ("münchen.example", "xn--mnchen-3ya.example"),
        ("中国.example", "xn--fiqs8s.example"),
        ("*.münchen.example", "*.xn--mnchen-3ya.example"),
        ("my_service", "my_service"),
        ("1.example", "1.example"),
        ("a" * 63 + ".example", "a" * 63 + ".example"),
        ("192.0.2.1", "192.0.2.1"),
        ("[2001:DB8:0::1]", "2001:db8::1"),
    ],
)
def test_names_of_hosts(tmp_path: Path, text: str, name: str) -> None:
    assert host_names([text, text]) == (name,)
    files = ensure_certificates(tmp_path, host_names([text]))
    # cryptography verifies no name with an underscore; OpenSSL does.
    verify(files, "localhost" if "_" in name else name.replace("*", "any"))


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "a..b", " a", "a b", "a\0b", "a\n", "-a", "a-", "a" * 64, "a." * 127 + "a"),
        *("https://a.example", "a.example:443", "a.example/", "user@a.example", "a,b", "é" * 64),
        *("*", "*.", "*.example", "a*.b.example", "*a.b.example", "a.*.example", "*.*.example"),
        *("300.1.1.1", "1.2.3", "0x7f.1.1.010", "1.2.3.4/24", "[::1", "\ud800", "ü" * 100_000),
    ],
)
def test_what_is_no_name_of_a_host(text: str) -> None:
    with pytest.raises(HostNameError, match="is no name of a host: expected one such as") as caught:
        host_names(["a.example", text])
    assert str(caught.value).isprintable()


def test_a_wildcard_is_for_one_label(tmp_path: Path) -> None:
    files = ensure_certificates(tmp_path, host_names(["*.example.org"]))
    verify(files, "a.example.org")
    for name in ("example.org", "a.b.example.org"):
        with pytest.raises(VerificationError):
            verify(files, name)


def test_one_word_for_the_hosts_of_google(tmp_path: Path) -> None:
    names = host_names(["google", "oauth2.googleapis.com", "a.example"])
    assert names == (*GOOGLE_HOSTS, "a.example")
    files = ensure_certificates(tmp_path, names)
    for name in names:
        verify(files, name)


@pytest.mark.parametrize("name", ["server.pem", "server.key"])
def test_what_does_not_fit_together_is_made_anew(tmp_path: Path, name: str) -> None:
    other = tmp_path / "other"
    other.mkdir()
    ensure_certificates(tmp_path, [])
    ensure_certificates(other, [])
    before = (tmp_path / "ca.pem").read_bytes()
    for content in (b"garbage", (other / name).read_bytes()):
        (tmp_path / name).write_bytes(content)
        files = ensure_certificates(tmp_path, [])
        verify(files, "localhost")
        leaf = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        key = serialization.load_pem_private_key(files.key.read_bytes(), None)
        assert leaf.public_key() == key.public_key()
    assert (tmp_path / "ca.pem").read_bytes() == before
