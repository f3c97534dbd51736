"""Which transfers are measured: who transfers what, over which network, and the goals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.frame import Figure, Goal
from bench.network import GOOGLE, LOOPBACK, NETWORKS, REMOTE, Network
from bench.workload import Workload

__all__ = ["ROWS", "SUBJECTS", "Row"]

PLUGIN = "DICOMweb plugin"
PLUGIN_ONE = "DICOMweb plugin, one job"
PLUGIN_8 = "DICOMweb plugin, 8 jobs"
PLUGIN_20 = "DICOMweb plugin, 20 jobs"
CLIENT = "dicomweb-client"
CLIENT_8 = "dicomweb-client, 8 threads"
CLIENT_20 = "dicomweb-client, 20 threads"
CURL = "curl, one request"
WORKER = "orthanc-gcp worker"
WITHOUT_MD5 = "orthanc-gcp worker, Orthanc without MD5"
SAMPLE = "orthanc-gcp worker, Verify: Sample"
ALL_BYTES = "orthanc-gcp worker, Verify: Bytes"
BEFORE = "orthanc-gcp worker of another commit"
WIRE = "20 connections, full all the time (computed)"
QUOTA = "the quota, used up all the time (computed)"

SUBJECTS: Mapping[str, str] = {
    "plugin": PLUGIN,
    "plugin-one": PLUGIN_ONE,
    "plugin-8": PLUGIN_8,
    "plugin-20": PLUGIN_20,
    "client": CLIENT,
    "client-8": CLIENT_8,
    "client-20": CLIENT_20,
    "curl": CURL,
    "worker": WORKER,
    "worker-without-md5": WITHOUT_MD5,
    "worker-sample": SAMPLE,
    "worker-bytes": ALL_BYTES,
    "worker-before": BEFORE,
    "wire": WIRE,
    "quota": QUOTA,
}

SMALL = Workload(200, 10, 10_000)
LARGE = Workload(1, 4000, 512 * 1024)
THOUSAND = Workload(1, 1000, 512 * 1024)
GIGABYTE = Workload(1, 2000, 512 * 1024)
GIANT = Workload(1, 1, 4_000_000_000)
LIVE = Workload(30, 10, 512 * 1024)
CHECKED = Workload(10, 100, 512 * 1024)

CONNECTIONS = 20
"""How many Google's DICOM best practices tell of at most."""
WAITS = 3
"""For how many answers a transfer waits in any case: stored, found, and one for a connection."""

SECONDS = Figure("seconds", "Begin to all instances transferred", "s", 2)
MISSING = Figure("missing", "Instances missing in the store, where it gave up", "instances")
ACKNOWLEDGED = Figure("acknowledged", "Begin to all instances acknowledged by the store", "s", 2)
CPU = Figure("cpu", "Processor time of the worker", "s", 2)
CPU_EACH = Figure("cpu_each", "Processor time of the worker for an instance", "µs")
ORTHANC_CPU_EACH = Figure(
    "orthanc_cpu_each", "Processor time of Orthanc meanwhile, for an instance", "µs"
)
SENDER = Figure("sender", "Peak memory of the sending process, where it is not Orthanc", "MB")
ORTHANC = Figure("orthanc", "Peak memory of Orthanc", "MB")
CONNECTED = Figure("connections", "Connections that carried requests at once", "connections")
REFUSED = Figure("refused", "Requests that the quota refused (429)", "%", 2)
MEDIAN = Figure("median", "Last instance of a study received to study transferred, median", "s", 2)
P95 = Figure("p95", "Last instance of a study received to study transferred, 95 of 100", "s", 2)

EVERYBODY = (PLUGIN, PLUGIN_8, CLIENT, CLIENT_8, CURL, WORKER)
CLIENTS = (CLIENT, CLIENT_8, CLIENT_20)
PEERS = (PLUGIN_8, PLUGIN_20, CLIENT_8, CLIENT_20)
CHECKS = (WORKER, WITHOUT_MD5, SAMPLE, ALL_BYTES)
GOOGLE_FIGURES = (SECONDS, MISSING, SENDER, ORTHANC, CONNECTED)


@dataclass(frozen=True)
class Row:
    """A measurement: who transfers what, over which network."""

    name: str
    title: str
    workload: Workload
    network: Network = LOOPBACK
    subjects: Sequence[str] = EVERYBODY
    figures: Sequence[Figure] = (SECONDS, MISSING, SENDER, ORTHANC)
    pairs: int = 5
    goals: tuple[Goal, ...] = ()


def _times(most: float, *of: str, figure: str = "seconds") -> Goal:
    return Goal(figure, WORKER, most, "times", of)


def _at_googles_pace(
    kind: str, network: str, words: str, workload: Workload, *goals: Goal
) -> tuple[Row, ...]:
    """A row with all peers: small studies, or a large one with what the wire takes at least."""
    large = (WIRE,) if workload.studies == 1 else ()
    title = "A large study" if large else "Many small studies"
    return (
        Row(
            f"custody-{kind}-{network}",
            f"{title}, {words}",
            workload,
            NETWORKS[network],
            (*PEERS, CURL, WORKER, *large),
            GOOGLE_FIGURES,
            pairs=3,
            goals=goals,
        ),
    )


def _live_at_googles_pace() -> Row:
    """At most three waits and the transfer of the last instance, the others having left before."""
    transfer = LIVE.pixels / GOOGLE.bandwidth
    return Row(
        "custody-live-google",
        "Studies that arrive, at Google's pace",
        LIVE,
        GOOGLE,
        (PLUGIN, WORKER),
        (MEDIAN, P95),
        pairs=3,
        goals=(Goal("p95", WORKER, round(WAITS * GOOGLE.wait + transfer, 2), "value"),),
    )


ROWS: Mapping[int, Sequence[Row]] = {
    1: (
        Row(
            "custody-small",
            "Many small studies",
            SMALL,
            goals=(
                _times(1 / 10, PLUGIN),
                _times(1 / 4, PLUGIN_8),
                _times(1 / 3, CLIENT),
                _times(1 / 4, CLIENT_8),
            ),
        ),
        Row(
            "custody-small-remote",
            "Many small studies, far away",
            SMALL,
            REMOTE,
            (PLUGIN, PLUGIN_8, *CLIENTS, CURL, WORKER),
            pairs=3,
            goals=(_times(0.45, *CLIENTS), _times(1.8, CURL)),
        ),
    ),
    2: (
        Row(
            "custody-large",
            "A large study",
            LARGE,
            pairs=3,
            goals=(_times(1 / 0.9, PLUGIN), _times(1 / 0.6, CURL)),
        ),
    ),
    3: (
        Row(
            "custody-large-remote",
            "A large study, far away",
            LARGE,
            REMOTE,
            pairs=3,
            goals=(_times(1 / 4, PLUGIN),),
        ),
    ),
    4: (
        Row(
            "custody-giant",
            "A giant instance",
            GIANT,
            subjects=(PLUGIN, WORKER),
            pairs=1,
            goals=(Goal("sender", WORKER, 250, "value"),),
        ),
    ),
    5: (
        Row(
            "custody-live",
            "Studies that arrive",
            LIVE,
            subjects=(PLUGIN, WORKER),
            figures=(MEDIAN, P95),
            pairs=3,
            goals=(Goal("p95", WORKER, 2, "value"),),
        ),
        _live_at_googles_pace(),
    ),
    6: tuple(
        Row(
            f"custody-studies-{size}",
            f"Studies of {size:,} instances",
            Workload(10_000 // size, size, 10_000),
            subjects=(WORKER,),
            pairs=3,
        )
        for size in (10, 100, 1000, 10_000)
    ),
    7: tuple(
        Row(
            f"custody-checks-{name}",
            f"What it costs to make sure, {name} instances",
            workload,
            subjects=CHECKS,
            figures=(ACKNOWLEDGED, SECONDS, CPU),
        )
        for name, workload in (("small", SMALL), ("large", CHECKED))
    ),
    8: _at_googles_pace(
        *("large", "google", "at Google's pace", THOUSAND),
        *(_times(0.9, *PEERS), _times(1.15, WIRE)),
    ),
    9: _at_googles_pace(
        *("small", "google", "at Google's pace", SMALL),
        _times(0.6, *PEERS),
    ),
    10: (
        *_at_googles_pace(
            "large", "google-instances", "at Google's pace, 20 ms for each instance", THOUSAND
        ),
        *_at_googles_pace(
            "small", "google-instances", "at Google's pace, 20 ms for each instance", SMALL
        ),
    ),
    11: (
        *_at_googles_pace("large", "google-https", "at Google's pace, over HTTPS", THOUSAND),
        *_at_googles_pace("small", "google-https", "at Google's pace, over HTTPS", SMALL),
    ),
    12: (
        Row(
            "custody-quota",
            "A gigabyte under a quota",
            GIGABYTE,
            NETWORKS["google-quota"],
            (WORKER, QUOTA),
            (SECONDS, REFUSED, CONNECTED),
            pairs=3,
            goals=(_times(1 / 0.9, QUOTA), Goal("refused", WORKER, 2, "value")),
        ),
    ),
    13: (
        Row(
            "custody-processor",
            "Many small studies, and what they cost",
            SMALL,
            subjects=(BEFORE, WORKER),
            figures=(CPU_EACH, ORTHANC_CPU_EACH, SECONDS),
            goals=(_times(0.6, BEFORE, figure="cpu_each"),),
        ),
    ),
}
"""Rows by their number on the command line; some are two."""
