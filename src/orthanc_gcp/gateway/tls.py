"""TLS of the gateway, by the options that Orthanc has for its own DICOM server."""

from __future__ import annotations

import ssl
from pathlib import Path

from orthanc_gcp.configuration import Settings
from orthanc_gcp.errors import ConfigurationError

__all__ = ["client_context", "server_context"]

_SERVER, _CLIENT = "DicomTlsEnabled", "UseDicomTls"


def server_context(settings: Settings) -> ssl.SSLContext | None:
    """What connections are secured with; None unless ``DicomTlsEnabled``.

    As in Orthanc ("DICOM TLS", Orthanc Book), a workstation has to show a certificate of
    ``DicomTlsTrustedCertificates`` unless ``DicomTlsRemoteCertificateRequired`` is false.

    Raises
    ------
    ConfigurationError
        A file is not named, or cannot be used.
    """
    options = settings.orthanc
    if not options.dicom_tls_enabled:
        return None
    required = options.dicom_tls_remote_certificate_required
    context = _context(settings, ssl.PROTOCOL_TLS_SERVER, _SERVER, needs_trusted=required)
    if required:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(settings: Settings) -> ssl.SSLContext:
    """What connections to modalities with ``UseDicomTls`` are secured with.

    As in Orthanc, whose certificate is shown, and the modality's has to be signed by one of
    ``DicomTlsTrustedCertificates``, for whichever host it is. Without these, that is left out only
    where ``DicomTlsRemoteCertificateRequired`` is false.

    Raises
    ------
    ConfigurationError
        A file is not named, or cannot be used.
    """
    options = settings.orthanc
    required = options.dicom_tls_remote_certificate_required
    context = _context(settings, ssl.PROTOCOL_TLS_CLIENT, _CLIENT, needs_trusted=required)
    context.check_hostname = False
    if not options.dicom_tls_trusted_certificates:
        context.verify_mode = ssl.CERT_NONE
    return context


def _context(settings: Settings, kind: int, what: str, *, needs_trusted: bool) -> ssl.SSLContext:
    """A context with the files of the configuration.

    Parameters
    ----------
    what
        For what a file is needed.
    """
    options = settings.orthanc
    context = ssl.SSLContext(kind)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    certificate = _file(settings, "DicomTlsCertificate", options.dicom_tls_certificate, what)
    key = _file(settings, "DicomTlsPrivateKey", options.dicom_tls_private_key, what)
    try:
        # A key with a password would be asked for on the terminal.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ssl.SSLError):
        raise ConfigurationError(
            "DicomTlsCertificate, DicomTlsPrivateKey: expected PEM files of a certificate and its "
            "key, without a password"
        ) from None
    trusted = options.dicom_tls_trusted_certificates
    if trusted or needs_trusted:
        file = _file(settings, "DicomTlsTrustedCertificates", trusted, what)
        try:
            context.load_verify_locations(file)
        except (OSError, ssl.SSLError):
            raise ConfigurationError(
                "DicomTlsTrustedCertificates: expected a PEM file of certificates"
            ) from None
    return context


def _file(settings: Settings, option: str, name: str, what: str) -> Path:
    """A file of the configuration; a relative one lies beside it."""
    if not name:
        raise ConfigurationError(f"{option}: missing, expected a PEM file, for {what}")
    return settings.folder / name
