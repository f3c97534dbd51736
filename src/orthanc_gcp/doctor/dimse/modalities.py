"""The group *modalities*: whether each answers a C-ECHO, and without TCP's stall of 40 ms.

A receiver that writes its answer in two pieces waits, by Nagle's algorithm (RFC 896), until the
first is acknowledged, which the sender's system delays (RFC 1122 §4.2.3.2): on Linux by 40 ms, for
each image. DCMTK, which Orthanc stands on, does so unless ``TCP_NODELAY`` is in its environment
(DCMTK, "config/docs/envvars.txt").
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from orthanc_gcp.configuration import Modality, Settings
from orthanc_gcp.doctor.dimse.echo import Caller, EchoError, Times, echo
from orthanc_gcp.doctor.findings import Finding, Result

__all__ = ["check_modalities"]

_WITHIN, _AT_ONCE = 3.0, 16
STALL = 0.025
"""Seconds by which an answer is later while this system delays its acknowledgements."""
_REMEDY = (
    "set TCP_NODELAY=1 in the environment of what answers there, if it is an Orthanc or another "
    "program of DCMTK, and of this Orthanc (systemctl edit orthanc: [Service], "
    "Environment=TCP_NODELAY=1), and restart them"
)
_UNREACHED = (
    "start it, or correct its AET, Host and Port in DicomModalities; it may have to be given "
    "Orthanc's AE title, too"
)


def check_modalities(settings: Settings) -> Iterator[Finding]:
    """Check each entry of ``DicomModalities``; raises nothing."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield from pool.map(partial(_check, settings), settings.orthanc.dicom_modalities)


def _check(settings: Settings, modality: Modality) -> Finding:
    title = f"modality {modality.aet}"
    if modality.use_dicom_tls:
        return Finding(title, Result.SKIPPED, "it is connected to by TLS, which is not tried here")
    calling = modality.local_aet or settings.orthanc.dicom_aet
    place = f"{modality.host}:{modality.port}"
    try:
        times = echo(Caller(calling, modality.aet), modality.host, modality.port, within=_WITHIN)
    except EchoError as error:
        return Finding(title, Result.WARNING, f"no C-ECHO at {place}: {error}", _UNREACHED)
    return _judged(title, place, times)


def _judged(title: str, place: str, times: Times) -> Finding:
    if times.at_once is None or times.delayed - times.at_once < STALL:
        return Finding(title, Result.PASSED, f"C-ECHO at {place} in {_ms(times.delayed)}")
    cause = (
        f"C-ECHO at {place} takes {_ms(times.delayed)} where {_ms(times.at_once)} would do: it "
        "waits for TCP's delayed acknowledgement, once for each image that is sent there"
    )
    return Finding(title, Result.WARNING, cause, _REMEDY)


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"
