"""What is measured, by the names that Orthanc and a worker show to Prometheus.

Names follow Prometheus' "Metric and label naming": the unit in the name, ``_total`` for what only
grows as long as its process lives. No library is used, so that the plugin can show them, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orthanc_gcp.auth.account_state import Figures
    from orthanc_gcp.custody.destinations.congestion import Totals
    from orthanc_gcp.retrieval.receive.receiver import Receiver

__all__ = [
    "GATEWAY_UP",
    "OF_ORTHANC",
    "OF_WORKER",
    "PROBLEMS",
    "RECEIVE_RESULTS",
    "RESULTS",
    "STATES",
    "WORKER_UP",
    "Metric",
    "Sample",
    "lost_instances",
    "of_backfill",
    "of_gateway",
    "of_quarantine",
    "of_receivers",
    "of_requests",
    "of_retrievals",
    "of_tokens",
    "of_transfers",
]

STATES = (
    "waiting",
    "sending",
    "acknowledged",
    "confirmed",
    "quarantined",
    "superseded",
    "withdrawn",
    "lost",
    "dismissed",
)
"""What transfers are counted by; what is held or delayed waits."""
PROBLEMS = ("account", "store", "index", "ledger", "file", "worker", "subscription")
"""What can be missing, so that instances stay where they are until a person does something."""
RESULTS = ("succeeded", "throttled", "failed")
"""How a store transaction can end: answered, refused as too much at once (429, 503), or else."""


RECEIVE_RESULTS = ("received", "own", "unwanted", "foreign", "malformed", "given_up")
"""How a message of a subscription can end."""


@dataclass(frozen=True)
class Metric:
    """A name, and what it stands for."""

    name: str
    meaning: str

    @property
    def is_counter(self) -> bool:
        """Whether it only grows, and begins at 0 with its process."""
        return self.name.endswith("_total")


@dataclass(frozen=True)
class Sample:
    """One value of a metric."""

    metric: Metric
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


TOKEN_UP = Metric("gcp_token_up", "1 while the account has a token that is good")
TOKEN_EXPIRY = Metric(
    "gcp_token_expiry_timestamp_seconds", "When the token expires, in UTC; 0 without one"
)
TOKEN_REFRESHES = Metric("gcp_token_refreshes_total", "Tokens that were acquired")
TOKEN_FAILURES = Metric("gcp_token_refresh_failures_total", "Tries that acquired none")
INSTANCES = Metric("gcp_transfer_instances", "Instances in the ledger, by state")
BYTES = Metric("gcp_transfer_bytes", "Bytes of the instances in the ledger, by state")
OLDEST = Metric(
    "gcp_transfer_oldest_unsent_age_seconds",
    "Since when the oldest unsent instance is to be sent; 0 without one",
)
PROBLEMS_FOUND = Metric(
    "gcp_problems",
    "What only a person can end, by kind, though it is not known of how many instances it is",
)
PROBLEM_INSTANCES = Metric(
    "gcp_problem_instances",
    "Instances that stay where they are until a person does something, by kind",
)
LOST_CHANGES = Metric(
    "gcp_transfer_lost_changes",
    "Changes that may have been of what Orthanc recycled unread, and nobody has acknowledged",
)
UNPROTECTED = Metric(
    "gcp_transfer_unprotected_patients",
    "Patients that Orthanc may recycle before all of them is confirmed",
)
PAUSED = Metric("gcp_transfer_paused", "1 while a person has the account send nothing")
OLDEST_UNSEEN = Metric(
    "gcp_transfer_oldest_acknowledged_age_seconds",
    "Since when the oldest instance that was acknowledged was not seen in the store; 0 without one",
)
WORKER_UP = Metric("gcp_worker_up", "1 while the worker answers, and its ledger does")

GATEWAY_UP = Metric("gcp_gateway_up", "1 while the gateway answers")
ASSOCIATIONS = Metric("gcp_gateway_associations", "Associations that are open")
DIMSE_REQUESTS = Metric(
    "gcp_gateway_requests_total", "DIMSE requests that have ended, by service and status"
)
DIMSE_SECONDS = Metric(
    "gcp_gateway_request_seconds_total", "What these requests took together, by service"
)
COMMITMENTS = Metric(
    "gcp_gateway_open_commitments", "Requests for storage commitment that have not ended"
)

REQUESTS = Metric("gcp_transfer_requests_total", "Store transactions, by result")
FAILED_REQUESTS = Metric(
    "gcp_transfer_failed_requests_total",
    "Store transactions that were refused or failed, by reason",
)
SENT_INSTANCES = Metric("gcp_transfer_sent_instances_total", "Instances that stores have answered")
SENT_BYTES = Metric("gcp_transfer_sent_bytes_total", "Bytes of the instances that were answered")

QUARANTINED = Metric("gcp_quarantined_instances", "Instances in quarantine, by reason")
BACKFILL_STUDIES = Metric(
    "gcp_backfill_studies", "Studies of the backfill of an index, by whether they are written down"
)
RETRIEVALS = Metric(
    "gcp_retrievals", "What is wanted back from a store and has not ended, by state"
)
RECEIVE_UP = Metric("gcp_receive_up", "1 while the subscription can be pulled")
RECEIVED_MESSAGES = Metric(
    "gcp_receive_messages_total", "Messages of subscriptions, by what became of them"
)
HELD_MESSAGES = Metric(
    "gcp_receive_held_messages", "Messages whose instances are on their way into Orthanc"
)
DELIVERY_ATTEMPTS = Metric(
    "gcp_receive_most_delivery_attempts",
    "How often a message was delivered at most, where the subscription has a dead letter policy",
)

_TOKENS = (TOKEN_UP, TOKEN_EXPIRY, TOKEN_REFRESHES, TOKEN_FAILURES)
_TRANSFERS = (
    *(INSTANCES, BYTES, OLDEST, OLDEST_UNSEEN, PROBLEMS_FOUND, PROBLEM_INSTANCES, LOST_CHANGES),
    *(UNPROTECTED, PAUSED),
)
_GATEWAY = (GATEWAY_UP, ASSOCIATIONS, DIMSE_REQUESTS, DIMSE_SECONDS, COMMITMENTS)
OF_ORTHANC = (*_TRANSFERS, WORKER_UP, *_GATEWAY, *_TOKENS)
"""What Orthanc shows."""
_REQUESTS = (REQUESTS, FAILED_REQUESTS, SENT_INSTANCES, SENT_BYTES)
_RECEIVERS = (RECEIVE_UP, RECEIVED_MESSAGES, HELD_MESSAGES, DELIVERY_ATTEMPTS)
_OF_LEDGER = (QUARANTINED, BACKFILL_STUDIES, RETRIEVALS)
OF_WORKER = (*_TRANSFERS, *_REQUESTS, *_OF_LEDGER, *_RECEIVERS, *_TOKENS)
"""What a worker shows; whether it runs is known by whether it answers."""


def of_tokens(figures: Iterable[tuple[str, Figures]], now: float) -> Iterator[Sample]:
    """The tokens of all accounts.

    Parameters
    ----------
    now
        The time that the figures are of, in UTC seconds.
    """
    for account, one in figures:
        left, labels = one.seconds_to_expiry, {"account": account}
        yield Sample(TOKEN_UP, float(left > 0), labels)
        yield Sample(TOKEN_EXPIRY, now + left if left > 0 else 0.0, labels)
        yield Sample(TOKEN_REFRESHES, one.refreshes, labels)
        yield Sample(TOKEN_FAILURES, one.failures, labels)


def of_transfers(overview: Iterable[Mapping[str, Any]]) -> Iterator[Sample]:
    """How far all accounts are.

    Parameters
    ----------
    overview
        What ``/gcp/transfers`` answers.
    """
    for one in overview:
        labels = {"account": one["Account"]}
        for state in STATES:
            counts = one[state.capitalize()]
            instances = lost_instances(one) if state == "lost" else counts["Instances"]
            yield Sample(INSTANCES, instances, {**labels, "state": state})
            yield Sample(BYTES, counts["Bytes"], {**labels, "state": state})
        yield Sample(OLDEST, one["OldestUnsentSeconds"] or 0.0, labels)
        yield Sample(OLDEST_UNSEEN, one["OldestAcknowledgedSeconds"] or 0.0, labels)
        yield Sample(PAUSED, float(one["Paused"]), labels)
        for kind in PROBLEMS:
            own = [each["Instances"] for each in one["Problems"] if each["Kind"] == kind]
            yield Sample(PROBLEMS_FOUND, len(own), {**labels, "kind": kind})
            yield Sample(PROBLEM_INSTANCES, sum(own), {**labels, "kind": kind})
        yield Sample(LOST_CHANGES, one["LostChanges"], labels)
        yield Sample(UNPROTECTED, one["UnprotectedPatients"], labels)


def lost_instances(account: Mapping[str, Any]) -> int:
    """How many instances of an account are lost, those for former stores with them.

    Parameters
    ----------
    account
        What ``/gcp/transfers`` answers of it.
    """
    former = sum(one["LostInstances"] for one in account["FormerStores"])
    return int(account["Lost"]["Instances"] + former)


def of_requests(totals: Mapping[str, Totals]) -> Iterator[Sample]:
    """What this process has sent to each account."""
    for account, one in totals.items():
        labels = {"account": account}
        for result in RESULTS:
            yield Sample(REQUESTS, getattr(one, result), {**labels, "result": result})
        for reason, count in one.reasons.items():
            yield Sample(FAILED_REQUESTS, count, {**labels, "reason": reason})
        yield Sample(SENT_INSTANCES, one.instances, labels)
        yield Sample(SENT_BYTES, one.bytes, labels)


def of_quarantine(counts: Mapping[tuple[str, str], int]) -> Iterator[Sample]:
    """How many instances of an account are in quarantine for a reason."""
    for (account, reason), count in counts.items():
        yield Sample(QUARANTINED, count, {"account": account, "reason": reason})


def of_backfill(index: str, done: int, left: int) -> Iterator[Sample]:
    """The studies of a backfill."""
    for state, count in (("done", done), ("left", left)):
        yield Sample(BACKFILL_STUDIES, count, {"index": index, "state": state})


def of_retrievals(counts: Mapping[tuple[str, str], int]) -> Iterator[Sample]:
    """How many retrievals from an account are in a state."""
    for (account, state), count in counts.items():
        yield Sample(RETRIEVALS, count, {"account": account, "state": state})


def of_gateway(status: Mapping[str, Any]) -> Iterator[Sample]:
    """What a gateway has answered.

    Parameters
    ----------
    status
        What ``/gcp/gateway`` answers.
    """
    yield Sample(ASSOCIATIONS, status["Associations"])
    if status["StorageCommitment"] is not None:
        yield Sample(COMMITMENTS, status["StorageCommitment"]["Open"])
    for one in status["Requests"]:
        labels = {"service": one["Service"]}
        yield Sample(DIMSE_SECONDS, one["Seconds"], labels)
        for code, count in one["ByStatus"].items():
            yield Sample(DIMSE_REQUESTS, count, {**labels, "status": code})


def of_receivers(receivers: Iterable[Receiver]) -> Iterator[Sample]:
    """What this process has received by each subscription."""
    for one in receivers:
        labels = {"account": one.rule.account, "subscription": one.rule.subscription}
        yield Sample(RECEIVE_UP, float(one.error is None), labels)
        for result in RECEIVE_RESULTS:
            yield Sample(RECEIVED_MESSAGES, one.total(result), {**labels, "result": result})
        yield Sample(HELD_MESSAGES, one.held, labels)
        yield Sample(DELIVERY_ATTEMPTS, one.most_attempts, labels)
