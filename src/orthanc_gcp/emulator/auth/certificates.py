"""A certification authority of the emulator's own, and its server certificate (RFC 5280).

Both stay on disk, so that a client that trusts ``ca.pem`` goes on trusting it after a restart.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from orthanc_gcp.emulator.auth.identities import write_private

__all__ = [
    "GOOGLE_HOSTS",
    "Certificates",
    "HostNameError",
    "ensure_certificates",
    "host_names",
    "make_workload_certificate",
]

GOOGLE_HOSTS = (
    "healthcare.googleapis.com",
    "oauth2.googleapis.com",
    "sts.googleapis.com",
    "iamcredentials.googleapis.com",
    "pubsub.googleapis.com",
    "storage.googleapis.com",
    "metadata.google.internal",
)
"""The hosts of Google whose paths the emulator answers."""

_CA_LIFETIME = timedelta(days=3650)
# Apple's and Chromium's longest for certificates of servers is 825 days under a private CA.
_LEAF_LIFETIME = timedelta(days=820)
_RENEW_BEFORE = timedelta(days=30)
_BACKDATED = timedelta(days=1)
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")

_LABEL = "[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME = re.compile(rf"(\*\.{_LABEL}\.)?({_LABEL}\.)*(?![0-9]+$){_LABEL}")
_MAX_HOST_NAME = 253


class HostNameError(ValueError):
    """A name that no certificate can have; the text says what was expected."""


@dataclass(frozen=True)
class Certificates:
    """Where the PEM files are."""

    ca: Path
    certificate: Path
    key: Path


def ensure_certificates(directory: Path, hosts: Iterable[str]) -> Certificates:
    """Return certificates valid for this machine and ``hosts``; make what is missing or ends.

    Parameters
    ----------
    directory : Path
        Where ``ca.pem``, ``ca.key``, ``server.pem`` and ``server.key`` are.
    hosts : iterable of str
        DNS names and IP addresses, besides those of this machine itself; as :func:`host_names`
        gives them.

    Raises
    ------
    TypeError
        ``ca.key`` holds no key of an elliptic curve.
    """
    files = Certificates(directory / "ca.pem", directory / "server.pem", directory / "server.key")
    ca_key_file = directory / "ca.key"
    names = list(dict.fromkeys([*_LOCAL_NAMES, *hosts]))
    if not files.ca.exists() or not ca_key_file.exists():
        _make_authority(files.ca, ca_key_file)
        files.certificate.unlink(missing_ok=True)
    if not _is_usable(files, names):
        _make_leaf(files, ca_key_file, names)
    return files


def host_names(texts: Iterable[str]) -> tuple[str, ...]:
    """Return names as a certificate has them (RFC 5280 section 4.2.1.6).

    DNS names are in lower case, and in ASCII (RFC 5891) when they are international; the first
    label may be ``*`` (RFC 6125 section 6.4.3), before two others at least. IP addresses are in
    their shortest form. The word ``google`` is all of :data:`GOOGLE_HOSTS`.

    Raises
    ------
    HostNameError
        One of them is neither a DNS name nor an IP address.
    """
    found: dict[str, None] = {}
    for text in texts:
        found.update(dict.fromkeys(GOOGLE_HOSTS if text == "google" else [_host_name(text)]))
    return tuple(found)


def _host_name(text: str) -> str:
    with suppress(ValueError):
        is_bracketed = text.startswith("[") and text.endswith("]")
        return str(ipaddress.ip_address(text[1:-1] if is_bracketed else text))
    name = ""
    if len(text) <= _MAX_HOST_NAME:
        with suppress(UnicodeError):
            name = text.lower().removesuffix(".").encode("idna").decode().lower()
    if len(name) > _MAX_HOST_NAME or not _HOST_NAME.fullmatch(name):
        raise HostNameError(
            f"{text!r} is no name of a host: expected one such as store.example.org or "
            "*.example.org, an IP address, or google, without https:// and without a port"
        )
    return name


def make_workload_certificate(path: Path, key_path: Path) -> None:
    """Write the certificate by which a workload proves who it is, unless it is there."""
    if path.exists() and key_path.exists():
        return
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("orthanc-workload")
    certificate = (
        _builder(name, name, key.public_key(), _CA_LIFETIME)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_private(key_path, _pem(key))
    write_private(path, certificate.public_bytes(serialization.Encoding.PEM))


def _is_usable(files: Certificates, names: list[str]) -> bool:
    if not files.certificate.exists() or not files.key.exists():
        return False
    try:
        certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        key = serialization.load_pem_private_key(files.key.read_bytes(), None)
        authority = x509.load_pem_x509_certificate(files.ca.read_bytes())
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    # A process that is killed may leave a key without its certificate.
    if key.public_key() != certificate.public_key():
        return False
    covered = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    lasts = certificate.not_valid_after_utc - datetime.now(UTC) > _RENEW_BEFORE
    return lasts and all(_general_name(name) in covered for name in names)


def _make_authority(path: Path, key_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("orthanc-gcp emulator CA")
    certificate = (
        _builder(name, name, key.public_key(), _CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    write_private(key_path, _pem(key))
    write_private(path, certificate.public_bytes(serialization.Encoding.PEM))


def _make_leaf(files: Certificates, ca_key_file: Path, names: list[str]) -> None:
    ca = x509.load_pem_x509_certificate(files.ca.read_bytes())
    ca_key = serialization.load_pem_private_key(ca_key_file.read_bytes(), None)
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{ca_key_file} does not hold the key of the emulator's CA")
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    certificate = (
        _builder(_name("orthanc-gcp emulator"), ca.subject, key.public_key(), _LEAF_LIFETIME)
        .add_extension(alternatives, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    write_private(files.key, _pem(key))
    write_private(files.certificate, certificate.public_bytes(serialization.Encoding.PEM))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, lifetime: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
