"""The tables of the ledger. They hold UIDs, sizes, digests and states, no patient data."""

from __future__ import annotations

from enum import IntEnum, StrEnum

import sqlalchemy as sql

__all__ = [
    "COMMITMENT_IS_OPEN",
    "IN_NEED",
    "IS_OWED",
    "PREFETCH_HAS_ENDED",
    "PREFETCH_IS_OPEN",
    "RETRIEVAL_IS_COMPLETE",
    "RETRIEVAL_IS_OPEN",
    "UNSENT",
    "UNSETTLED",
    "UNSURE",
    "Cause",
    "CommitmentState",
    "Guard",
    "PrefetchState",
    "Priority",
    "ReferenceState",
    "RetrievalState",
    "RetrievedState",
    "State",
    "acknowledged_losses",
    "backfill_studies",
    "change_cursors",
    "commitment_references",
    "destinations",
    "events",
    "key_values",
    "lost_changes",
    "metadata",
    "patient_studies",
    "patients",
    "prefetches",
    "retrievals",
    "retrieved_instances",
    "schema_version",
    "storage_commitments",
    "transfer_history",
    "transfers",
]


class State(StrEnum):
    """Where an instance is on its way to one destination."""

    HELD = "held"  # until its series or study is stable
    WAITING = "waiting"
    DELAYED = "delayed"  # waiting, but not before a moment
    SENDING = "sending"
    ACKNOWLEDGED = "acknowledged"  # the store said so
    CONFIRMED = "confirmed"  # and was seen to have it
    QUARANTINED = "quarantined"  # needs a person
    SUPERSEDED = "superseded"  # a newer version with its UIDs was received
    WITHDRAWN = "withdrawn"  # deleted in Orthanc before it was sent
    LOST = "lost"  # recycled by Orthanc before it was sent, or gone with an index of before
    DISMISSED = "dismissed"  # was in quarantine, and a person has said that it is not to be sent


UNSETTLED = (State.HELD, State.WAITING, State.DELAYED, State.SENDING, State.ACKNOWLEDGED)
"""The states in which something is still to be done."""

IN_NEED = (*UNSETTLED, State.QUARANTINED)
"""The states of what Orthanc has to keep: no store is known to have it."""


class Priority(IntEnum):
    """What goes first."""

    LIVE = 0
    DEMANDED = 1
    BACKFILL = 2


class Guard(StrEnum):
    """Whether a patient is protected from Orthanc's recycling."""

    WANTED = "wanted"  # to be protected as soon as Orthanc has it
    BEGUN = "begun"  # by us, at any moment now
    OWN = "own"  # by us
    FOREIGN = "foreign"  # by somebody else
    REMOVED = "removed"  # not any more: somebody has taken our protection away
    NO_ROOM = "no_room"  # not, as too much of Orthanc's storage is protected
    REFUSED = "refused"  # not, as Orthanc does not let us
    BEGUN_REFUSED = "begun_refused"  # by us, or not: Orthanc's answer was an error
    # Orthanc does not have it, and may have it again
    GONE = "gone"  # was not
    BEGUN_GONE = "begun_gone"  # may have been, by us
    OWN_DELETED = "own_deleted"  # was, by us: somebody has deleted it
    FOREIGN_DELETED = "foreign_deleted"  # was, by somebody else: likewise


class RetrievalState(StrEnum):
    """How far it is with what somebody wants back from a store."""

    WAITING = "waiting"  # for what the store lists of it
    RUNNING = "running"
    COMPLETE = "complete"  # Orthanc has all that the store lists
    INCOMPLETE = "incomplete"  # it has not, and will not
    UNWANTED = "unwanted"  # a notification named it, and no rule wants it


class Cause(StrEnum):
    """What has wanted something back, where nobody has asked for it."""

    NOTIFICATION = "notification"  # of the store, by a subscription
    PREFETCH = "prefetch"


class PrefetchState(StrEnum):
    """How far it is with the priors of a study that Orthanc has received."""

    WAITING = "waiting"
    REQUESTED = "requested"  # their retrievals are in the ledger
    SKIPPED = "skipped"  # there is a reason why nothing is to be brought


class RetrievedState(StrEnum):
    """Where an instance is on its way from a store into Orthanc."""

    WAITING = "waiting"
    COMPARING = "comparing"  # Orthanc has it: are the bytes the same?
    RECEIVED = "received"  # Orthanc has taken it
    PRESENT = "present"  # Orthanc had it already
    DIFFERENT = "different"  # Orthanc has it with other bytes
    MISSING = "missing"  # it does not come


class CommitmentState(StrEnum):
    """How far it is with a request for storage commitment (PS3.4 annex J)."""

    WAITING = "waiting"  # for what the store has of it
    DECIDED = "decided"  # what it has is known, and is to be reported
    REPORTED = "reported"
    GIVEN_UP = "given_up"  # the modality did not take the report


class ReferenceState(StrEnum):
    """What is known of an instance that somebody wants a store to be responsible for."""

    WAITING = "waiting"
    COMMITTED = "committed"
    FAILED = "failed"


COMMITMENT_IS_OPEN = "state IN ('waiting', 'decided')"
"""The requests that have not ended. In these very words, as below."""
RETRIEVAL_IS_OPEN = "state IN ('waiting', 'running')"
"""The retrievals that have not ended. In these very words, as below."""
RETRIEVAL_IS_COMPLETE = "state = 'complete'"
"""Those that lack nothing."""
PREFETCH_IS_OPEN = "state = 'waiting'"
"""The prefetches that have not ended."""
PREFETCH_HAS_ENDED = "ended_at IS NOT NULL"
"""The others."""
IS_OWED = "state IN ('held', 'waiting', 'delayed', 'sending') AND priority <> 2"
"""The rows whose age counts: still to be sent, and no backfill. In these very words, so that the
database sees that an index covers it."""

metadata = sql.MetaData()
_Id = sql.BigInteger().with_variant(sql.Integer, "sqlite")


def _partial(name: str, condition: str, *columns: str) -> sql.Index:
    """An index over the few rows that a condition holds for."""
    where = sql.text(condition)
    return sql.Index(f"gcp_transfers_{name}", *columns, sqlite_where=where, postgresql_where=where)


transfers = sql.Table(
    "gcp_transfers",
    metadata,
    sql.Column("id", _Id, primary_key=True, autoincrement=True),
    sql.Column("account", sql.Text, nullable=False),
    sql.Column("source", sql.Text, nullable=False),  # which Orthanc
    sql.Column("orthanc_id", sql.Text, nullable=False),
    sql.Column("study_instance_uid", sql.Text, nullable=False),
    sql.Column("series_instance_uid", sql.Text, nullable=False),
    sql.Column("sop_instance_uid", sql.Text, nullable=False),
    sql.Column("size_bytes", sql.BigInteger, nullable=False),
    sql.Column("attachment_uuid", sql.Text, nullable=False, default=""),  # of its file
    sql.Column("sha256", sql.Text),  # SHA-256 of the bytes sent
    sql.Column("state", sql.Text, nullable=False),
    sql.Column("priority", sql.SmallInteger, nullable=False),
    sql.Column("change_seq", sql.BigInteger, nullable=False, default=0),  # Orthanc's Seq
    sql.Column("held_for_orthanc_id", sql.Text),  # of the series or study
    sql.Column("next_attempt_at", sql.Float),  # at sending it, or at reading it back
    sql.Column("attempts", sql.Integer, nullable=False, default=0),
    sql.Column("max_batch_instances", sql.Integer),  # in a batch with it: bisection
    sql.Column("replace", sql.Boolean, nullable=False, default=False),
    sql.Column("reason", sql.Text),
    sql.Column("detail", sql.Text),
    sql.Column("batch", sql.Text),
    sql.Column("worker", sql.Text),  # the last that ever claimed it: it may have been sent
    sql.Column("sent_as", sql.Text),  # in whose name it was sent, to Google
    sql.Column("received_at", sql.Float, nullable=False),
    sql.Column("queued_at", sql.Float, nullable=False),  # since when it is to be sent
    sql.Column("acknowledged_at", sql.Float),
    sql.Column("confirmed_at", sql.Float),
    sql.Column("absent_since", sql.Float),  # from Orthanc, as far as is known
    sql.Column("stored_sha256", sql.Text),  # of another version, which the store may have
    sql.Column("destination_id", sql.BigInteger, nullable=False),  # which store of the account
    sql.Column("patient_orthanc_id", sql.Text),  # none where it was not asked for yet
    sql.UniqueConstraint("destination_id", "source", "orthanc_id"),
    # The queue of each Orthanc, and the counts of everything, from the index alone.
    sql.Index(
        "gcp_transfers_queue",
        *("destination_id", "source", "state", "priority", "id", "size_bytes"),
    ),
    sql.Index("gcp_transfers_study", "study_instance_uid", "destination_id"),
    sql.Index("gcp_transfers_series", "series_instance_uid", "destination_id", "state"),
    sql.Index("gcp_transfers_instance", "sop_instance_uid"),
    _partial("batch", "batch IS NOT NULL", "batch"),
    _partial("held", "held_for_orthanc_id IS NOT NULL", "held_for_orthanc_id"),
    _partial("sending", f"state = '{State.SENDING}'", "destination_id", "batch"),
    _partial("delayed", f"state = '{State.DELAYED}'", "destination_id", "next_attempt_at"),
    _partial(
        "backfill",
        "priority = 2",
        *("source", "destination_id", "state", "confirmed_at", "size_bytes"),
    ),
    _partial(
        "acknowledged", f"state = '{State.ACKNOWLEDGED}'", "destination_id", "next_attempt_at"
    ),
    _partial("owed", IS_OWED, "destination_id", "queued_at"),
)
"""One row for each instance and destination. Times are seconds since 1970, UTC."""

UNSENT: dict[str, None] = dict.fromkeys(
    (
        "next_attempt_at",
        "max_batch_instances",
        "reason",
        "detail",
        "batch",
        "sent_as",
        "acknowledged_at",
        "confirmed_at",
        "absent_since",
    )
)
"""The columns of a row that are about its sending, as they are before it.

Not what its store may have of it by then: that is known until it is confirmed.
"""

UNSURE = "unsure"
"""In place of a digest: the store may have another version, and which one is not known."""

destinations = sql.Table(
    "gcp_destinations",
    metadata,
    sql.Column("id", _Id, primary_key=True, autoincrement=True),
    sql.Column("account", sql.Text, nullable=False),
    sql.Column("endpoint", sql.Text, nullable=False),  # empty for Google's own
    sql.Column("store", sql.Text),  # its path; nothing while it is not known
    sql.Column("since", sql.Float, nullable=False),
    sql.Column("used_at", sql.Float, nullable=False),  # when a worker last began to send there
    sql.UniqueConstraint("account", "endpoint", "store"),
)
"""Each store that an account has ever named."""

events = sql.Table(
    "gcp_events",
    metadata,
    sql.Column("id", _Id, primary_key=True, autoincrement=True),
    sql.Column("occurred_at", sql.Float, nullable=False),
    sql.Column("account", sql.Text, nullable=False),
    sql.Column("study_instance_uid", sql.Text),
    sql.Column("sop_instance_uid", sql.Text),
    sql.Column("kind", sql.Text, nullable=False),
    sql.Column("detail", sql.Text),
    sql.Index("gcp_events_study", "study_instance_uid"),
)
"""What a receipt has beside the last state: replacements, quarantines, retries."""

change_cursors = sql.Table(
    "gcp_change_cursors",
    metadata,
    sql.Column("source", sql.Text, primary_key=True),
    sql.Column("seq", sql.BigInteger, nullable=False),
    sql.Column("since", sql.Float, nullable=False),  # when following began
    sql.Column("name", sql.Text),  # of the Orthanc that had it last
    sql.Column("marks", sql.JSON),  # changes by which it is recognized
    sql.Column("missing", sql.JSON),  # changes that may become visible yet
    sql.Column("seen_at", sql.Float),
    sql.Column("read_until", sql.Float),
    sql.Column("address", sql.Text),  # of that Orthanc, for a worker that it has not started
)
"""How far the changes of each index of Orthanc have been read."""

backfill_studies = sql.Table(
    "gcp_backfill_studies",
    metadata,
    sql.Column("source", sql.Text, primary_key=True),
    sql.Column("orthanc_id", sql.Text, primary_key=True),
    sql.Column("last_update", sql.Text, nullable=False),  # as Orthanc has it: 20261121T221844
    sql.Index("gcp_backfill_studies_newest", "source", "last_update", "orthanc_id"),
)
"""The studies whose instances a backfill has still to write down."""

key_values = sql.Table(
    "gcp_key_values",
    metadata,
    sql.Column("name", sql.Text, primary_key=True),
    sql.Column("value", sql.JSON, nullable=False),
)
"""What people have set, and what workers have to know: pauses, backfills, alerts, rate limits."""

patients = sql.Table(
    "gcp_patients",
    metadata,
    sql.Column("source", sql.Text, primary_key=True),
    sql.Column("orthanc_id", sql.Text, primary_key=True),
    sql.Column("guard", sql.Text, nullable=False),
    sql.Column("since", sql.Float),  # when it was seen to be protected, or gone
    sql.Column("size_bytes", sql.BigInteger, nullable=False),  # of all that Orthanc has of it
)
"""The patients of which something is not confirmed yet, where Orthanc recycles."""

patient_studies = sql.Table(
    "gcp_patient_studies",
    metadata,
    sql.Column("source", sql.Text, primary_key=True),
    sql.Column("study_instance_uid", sql.Text, primary_key=True),
    sql.Column("orthanc_id", sql.Text, primary_key=True),  # of the patient
    sql.Index("gcp_patient_studies_patient", "source", "orthanc_id"),
)
"""The studies of these patients; a study is of two when a PatientID was corrected."""

lost_changes = sql.Table(
    "gcp_lost_changes",
    metadata,
    sql.Column("id", _Id, primary_key=True, autoincrement=True),
    sql.Column("account", sql.Text, nullable=False),
    sql.Column("source", sql.Text, nullable=False),
    sql.Column("first_seq", sql.BigInteger, nullable=False),
    sql.Column("last_seq", sql.BigInteger, nullable=False),
    sql.Column("changes", sql.BigInteger, nullable=False),  # so many of these numbers
    sql.Column("noticed_at", sql.Float, nullable=False),
    sql.Column("acknowledged_at", sql.Float),  # by a person
    sql.Column("acknowledged_by", sql.Text),  # with how that is known
)
"""What Orthanc had received and recycled before anybody could read what it was."""

transfer_history = sql.Table(
    "gcp_transfer_history",
    metadata,
    sql.Column("account", sql.Text, primary_key=True),
    sql.Column("noted_at", sql.Float, primary_key=True),
    sql.Column("confirmed_instances", sql.BigInteger, nullable=False),  # until then
    sql.Column("confirmed_bytes", sql.BigInteger, nullable=False),
    sql.Column("unsent_instances", sql.BigInteger, nullable=False),  # at that moment
    sql.Column("unsent_bytes", sql.BigInteger, nullable=False),
)
"""How far each account was, in steps of the last day."""

acknowledged_losses = sql.Table(
    "gcp_acknowledged_losses",
    metadata,
    sql.Column("id", _Id, primary_key=True, autoincrement=True),
    sql.Column("account", sql.Text, nullable=False),
    sql.Column("source", sql.Text, nullable=False),
    sql.Column("study_instance_uid", sql.Text, nullable=False),
    sql.Column("instances", sql.Integer, nullable=False),
    sql.Column("size_bytes", sql.BigInteger, nullable=False),  # of all of them
    sql.Column("first_received_at", sql.Float, nullable=False),
    sql.Column("last_received_at", sql.Float, nullable=False),
    sql.Column("acknowledged_at", sql.Float, nullable=False),
    sql.Column("acknowledged_by", sql.Text, nullable=False),  # with how that is known
)
"""The studies of which a person has acknowledged that instances are lost; only ever added."""

retrievals = sql.Table(
    "gcp_retrievals",
    metadata,
    sql.Column("id", _Id, primary_key=True, autoincrement=True),
    sql.Column("account", sql.Text, nullable=False),
    sql.Column("destination_id", sql.BigInteger, nullable=False),  # which store of the account
    sql.Column("source", sql.Text, nullable=False),  # into which Orthanc
    sql.Column("study_instance_uid", sql.Text, nullable=False),
    sql.Column("series_instance_uid", sql.Text),  # nothing for all of the study
    sql.Column("sop_instance_uid", sql.Text),
    sql.Column("compare_bytes", sql.Boolean, nullable=False),
    sql.Column("state", sql.Text, nullable=False),
    sql.Column("rounds", sql.Integer, nullable=False),  # so often the store has listed it
    sql.Column("attempts", sql.Integer, nullable=False),  # at having it listed
    sql.Column("next_attempt_at", sql.Float),
    sql.Column("reason", sql.Text),
    sql.Column("detail", sql.Text),
    sql.Column("requested_at", sql.Float, nullable=False),
    sql.Column("ended_at", sql.Float),
    sql.Column("cause", sql.Text),  # nothing where somebody has asked for it
    sql.Column("message_id", sql.Text),  # of the notification
    sql.Index(
        "gcp_retrievals_open",
        "source",
        sqlite_where=sql.text(RETRIEVAL_IS_OPEN),
        postgresql_where=sql.text(RETRIEVAL_IS_OPEN),
    ),
    sql.Index(
        "gcp_retrievals_complete",
        "ended_at",
        sqlite_where=sql.text(RETRIEVAL_IS_COMPLETE),
        postgresql_where=sql.text(RETRIEVAL_IS_COMPLETE),
    ),
    sql.Index("gcp_retrievals_account", "account", "id"),
    sql.Index("gcp_retrievals_study", "study_instance_uid", "source"),
    sql.Index(
        "gcp_retrievals_unwanted",
        "account",
        sqlite_where=sql.text("state = 'unwanted'"),
        postgresql_where=sql.text("state = 'unwanted'"),
    ),
    sql.Index(
        "gcp_retrievals_instance",
        "sop_instance_uid",
        sqlite_where=sql.text("sop_instance_uid IS NOT NULL"),
        postgresql_where=sql.text("sop_instance_uid IS NOT NULL"),
    ),
)
"""One row for each study, series or instance that somebody wants back from a store."""

retrieved_instances = sql.Table(
    "gcp_retrieved_instances",
    metadata,
    sql.Column("id", _Id, primary_key=True, autoincrement=True),
    sql.Column("retrieval_id", sql.BigInteger, nullable=False),
    sql.Column("destination_id", sql.BigInteger, nullable=False),
    sql.Column("study_instance_uid", sql.Text, nullable=False),
    sql.Column("series_instance_uid", sql.Text, nullable=False),
    sql.Column("sop_instance_uid", sql.Text, nullable=False),
    sql.Column("size_bytes", sql.BigInteger, nullable=False),  # an estimate, until it has come
    sql.Column("state", sql.Text, nullable=False),
    sql.Column("attempts", sql.Integer, nullable=False),
    sql.Column("next_attempt_at", sql.Float),
    sql.Column("reason", sql.Text),
    sql.Column("detail", sql.Text),
    sql.Column("md5", sql.Text),  # of the bytes that came, before Orthanc has all of them
    sql.Column("sha256", sql.Text),
    sql.Column("orthanc_id", sql.Text),
    sql.Column("attachment_uuid", sql.Text),  # of the file that Orthanc made of them
    sql.Column("seen_round", sql.Integer, nullable=False),  # when Orthanc last had it
    sql.Column("retrieved_at", sql.Float),
    sql.UniqueConstraint(
        "retrieval_id", "study_instance_uid", "series_instance_uid", "sop_instance_uid"
    ),
    sql.Index(
        "gcp_retrieved_instances_queue",
        *("retrieval_id", "state", "study_instance_uid", "series_instance_uid", "id"),
    ),
    sql.Index(
        "gcp_retrieved_instances_origin",
        "sop_instance_uid",
        sqlite_where=sql.text("md5 IS NOT NULL"),
        postgresql_where=sql.text("md5 IS NOT NULL"),
    ),
)
"""One row for each instance of these that the store has listed."""

prefetches = sql.Table(
    "gcp_prefetches",
    metadata,
    sql.Column("id", _Id, primary_key=True, autoincrement=True),
    sql.Column("account", sql.Text, nullable=False),
    sql.Column("source", sql.Text, nullable=False),  # which Orthanc
    sql.Column("orthanc_id", sql.Text, nullable=False),  # of a study, or its UID: see PrefetchRow
    sql.Column("state", sql.Text, nullable=False),
    sql.Column("attempts", sql.Integer, nullable=False),
    sql.Column("next_attempt_at", sql.Float),
    sql.Column("reason", sql.Text),
    sql.Column("detail", sql.Text),
    sql.Column("studies", sql.Integer),  # so many were asked for
    sql.Column("noticed_at", sql.Float, nullable=False),
    sql.Column("ended_at", sql.Float),
    sql.Column("demanded_at", sql.Float),  # by a person; nothing of what a rule alone wants
    sql.UniqueConstraint("source", "account", "orthanc_id"),
    sql.Index(
        "gcp_prefetches_open",
        "source",
        sqlite_where=sql.text(PREFETCH_IS_OPEN),
        postgresql_where=sql.text(PREFETCH_IS_OPEN),
    ),
    sql.Index(
        "gcp_prefetches_ended",
        "ended_at",
        sqlite_where=sql.text(PREFETCH_HAS_ENDED),
        postgresql_where=sql.text(PREFETCH_HAS_ENDED),
    ),
)
"""One row for each study that Orthanc has received, and account that has its priors."""

schema_version = sql.Table(
    "gcp_schema_version", metadata, sql.Column("version", sql.Integer, nullable=False)
)
"""One row: the last of the migrations that the tables have been through."""

storage_commitments = sql.Table(
    "gcp_storage_commitments",
    metadata,
    sql.Column("id", _Id, primary_key=True, autoincrement=True),
    sql.Column("account", sql.Text, nullable=False),
    sql.Column("destination_id", sql.BigInteger, nullable=False),  # which store of the account
    sql.Column("transaction_uid", sql.Text, nullable=False),
    sql.Column("calling_aet", sql.Text, nullable=False),  # of the modality that asked
    sql.Column("called_aet", sql.Text, nullable=False),
    sql.Column("address", sql.Text, nullable=False),  # where it asked from
    sql.Column("state", sql.Text, nullable=False),
    sql.Column("attempts", sql.Integer, nullable=False),  # at reporting it
    sql.Column("next_attempt_at", sql.Float),
    sql.Column("detail", sql.Text),
    sql.Column("requested_at", sql.Float, nullable=False),
    sql.Column("ended_at", sql.Float),
    sql.Index(
        "gcp_storage_commitments_open",
        "next_attempt_at",
        sqlite_where=sql.text(COMMITMENT_IS_OPEN),
        postgresql_where=sql.text(COMMITMENT_IS_OPEN),
    ),
    sql.Index("gcp_storage_commitments_transaction", "transaction_uid"),
    sql.Index("gcp_storage_commitments_ended", "ended_at"),
)
"""One row for each transaction that a modality has asked storage commitment for."""

commitment_references = sql.Table(
    "gcp_commitment_references",
    metadata,
    sql.Column("id", _Id, primary_key=True, autoincrement=True),
    sql.Column("commitment_id", sql.BigInteger, nullable=False),
    sql.Column("sop_class_uid", sql.Text, nullable=False),
    sql.Column("sop_instance_uid", sql.Text, nullable=False),
    sql.Column("state", sql.Text, nullable=False),
    sql.Column("failure_reason", sql.Integer),  # (0008,1197)
    sql.Index("gcp_commitment_references_queue", "commitment_id", "state", "id"),
)
"""One row for each instance that such a transaction refers to."""
