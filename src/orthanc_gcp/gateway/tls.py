"""TLS of the gateway, by the options that Orthanc has for its own DICOM server."""

from __future__ import annotations

import ssl
from pathlib import Path

from orthanc_gcp.configuration import Settings
from orthanc_gcp.errors import ConfigurationError

__all__ = ["client_context", "server_context"]


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
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_own(settings, context)
    trusted = options.dicom_tls_trusted_certificates
    if trusted or options.dicom_tls_remote_certificate_required:
        _load_trusted(settings, context)
    if options.dicom_tls_remote_certificate_required:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(settings: Settings) -> ssl.SSLContext | None:
    """What connections to modalities are secured with; None where Orthanc has nothing for it.

    As in Orthanc, the certificate of a modality has to be one of
    ``DicomTlsTrustedCertificates``, or from one of them; its name is not compared.

    Raises
    ------
    ConfigurationError
        A file cannot be used.
    """
    options = settings.orthanc
    if not (options.dicom_tls_certificate and options.dicom_tls_trusted_certificates):
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    _load_own(settings, context)
    _load_trusted(settings, context)
    return context


def _load_own(settings: Settings, context: ssl.SSLContext) -> None:
    options = settings.orthanc
    certificate = _file(settings, "DicomTlsCertificate", options.dicom_tls_certificate)
    key = _file(settings, "DicomTlsPrivateKey", options.dicom_tls_private_key)
    try:
        # A key with a password would be asked for on the terminal.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ssl.SSLError):
        raise ConfigurationError(
            "DicomTlsCertificate, DicomTlsPrivateKey: expected PEM files of a certificate and its "
            "key, without a password"
        ) from None


def _load_trusted(settings: Settings, context: ssl.SSLContext) -> None:
    trusted = settings.orthanc.dicom_tls_trusted_certificates
    file = _file(settings, "DicomTlsTrustedCertificates", trusted)
    try:
        context.load_verify_locations(file)
    except (OSError, ssl.SSLError):
        raise ConfigurationError(
            "DicomTlsTrustedCertificates: expected a PEM file of certificates"
        ) from None


def _file(settings: Settings, option: str, name: str) -> Path:
    """A file of the configuration; a relative one lies beside it."""
    if not name:
        raise ConfigurationError(f"{option}: missing, expected a PEM file, for DicomTlsEnabled")
    return settings.folder / name
