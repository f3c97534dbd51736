"""The group *modalities*: whether each answers a C-ECHO, and without TCP's stall of 40 ms.

A receiver that writes its answer in two pieces waits, by Nagle's algorithm (RFC 896), until the
first is acknowledged, which the sender's system delays (RFC 1122 §4.2.3.2): on Linux by 40 ms, for
each image. DCMTK, which Orthanc stands on, does so unless ``TCP_NODELAY`` is in its environment
(DCMTK, "config/docs/envvars.txt").
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from ssl import SSLContext

from orthanc_gcp.configuration import Modality, Settings
from orthanc_gcp.doctor.dimse.scu import Peer, ScuError, Times, echo, store
from orthanc_gcp.doctor.findings import Finding, Result
from orthanc_gcp.doctor.round_trip import instance
from orthanc_gcp.errors import ConfigurationError
from orthanc_gcp.gateway.tls import client_context

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
_OPTIONS = "correct the DicomTls options: this Orthanc cannot connect to it either"


@dataclass(frozen=True)
class _Tls:
    """What connections by TLS are secured with, or why there is nothing."""

    context: SSLContext | None = None
    problem: str = ""


def check_modalities(settings: Settings, store_to: Collection[str] = ()) -> Iterator[Finding]:
    """Check each entry of ``DicomModalities``; raises nothing.

    Parameters
    ----------
    store_to
        The AE titles of those where a tiny instance is stored, too: it stays there.
    """
    modalities = settings.orthanc.dicom_modalities
    tls = _tls(settings) if any(one.use_dicom_tls for one in modalities) else _Tls()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for found in pool.map(partial(_check, settings, tls, store_to), modalities):
            yield from found


def _tls(settings: Settings) -> _Tls:
    try:
        return _Tls(client_context(settings))
    except ConfigurationError as error:
        return _Tls(problem=str(error))


def _check(
    settings: Settings, tls: _Tls, store_to: Collection[str], modality: Modality
) -> list[Finding]:
    title = f"modality {modality.aet}"
    if modality.use_dicom_tls and tls.context is None:
        return [Finding(title, Result.WARNING, f"no TLS: {tls.problem}", _OPTIONS)]
    calling = modality.local_aet or settings.orthanc.dicom_aet
    context = tls.context if modality.use_dicom_tls else None
    peer = Peer(calling, modality.aet, modality.host, modality.port, _WITHIN, context)
    found = [_timed(title, "C-ECHO", peer, echo)]
    if modality.aet in store_to:
        file = instance(*(f"2.25.{uuid.uuid4().int}" for _ in range(3)))
        storing = partial(store, file=file)
        found.append(_timed(f"{title}, C-STORE", "C-STORE", peer, storing))
    return found


def _timed(title: str, service: str, peer: Peer, ask: Callable[[Peer], Times]) -> Finding:
    place = f"{peer.host}:{peer.port}{' by TLS' if peer.tls else ''}"
    try:
        times = ask(peer)
    except ScuError as error:
        cause, remedy = f"no {service} at {place}: {error}", error.remedy or _UNREACHED
        return Finding(title, Result.WARNING, cause, remedy)
    if times.at_once is None or times.delayed - times.at_once < STALL:
        return Finding(title, Result.PASSED, f"{service} at {place} in {_ms(times.delayed)}")
    cause = (
        f"{service} at {place} takes {_ms(times.delayed)} where {_ms(times.at_once)} would do: it "
        "waits for TCP's delayed acknowledgement, once for each image that is sent there"
    )
    return Finding(title, Result.WARNING, cause, _REMEDY)


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"
