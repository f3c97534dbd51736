-- An account is not one store for ever: each that it names is a destination of its own.

CREATE TABLE gcp_destinations (
    id INTEGER NOT NULL,
    account TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    store TEXT,
    since FLOAT NOT NULL,
    used_at FLOAT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (account, endpoint, store)
);

INSERT INTO gcp_destinations (account, endpoint, store, since, used_at)
    SELECT account, '', NULL, min(queued_at), min(queued_at)
    FROM gcp_transfers GROUP BY account ORDER BY account;

-- SQLite cannot change what is unique in a table: it is made anew.

CREATE TABLE gcp_transfers_anew (
    id INTEGER NOT NULL,
    account TEXT NOT NULL,
    source TEXT NOT NULL,
    orthanc_id TEXT NOT NULL,
    study_instance_uid TEXT NOT NULL,
    series_instance_uid TEXT NOT NULL,
    sop_instance_uid TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    attachment_uuid TEXT NOT NULL,
    sha256 TEXT,
    state TEXT NOT NULL,
    priority SMALLINT NOT NULL,
    change_seq BIGINT NOT NULL,
    held_for_orthanc_id TEXT,
    next_attempt_at FLOAT,
    attempts INTEGER NOT NULL,
    max_batch_instances INTEGER,
    "replace" BOOLEAN NOT NULL,
    reason TEXT,
    detail TEXT,
    batch TEXT,
    worker TEXT,
    sent_as TEXT,
    received_at FLOAT NOT NULL,
    queued_at FLOAT NOT NULL,
    acknowledged_at FLOAT,
    confirmed_at FLOAT,
    absent_since FLOAT,
    stored_sha256 TEXT,
    destination_id BIGINT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (destination_id, source, orthanc_id)
);

INSERT INTO gcp_transfers_anew
    SELECT gcp_transfers.*, gcp_destinations.id
    FROM gcp_transfers JOIN gcp_destinations USING (account) ORDER BY gcp_transfers.id;

DROP TABLE gcp_transfers;

ALTER TABLE gcp_transfers_anew RENAME TO gcp_transfers;

CREATE INDEX gcp_transfers_queue ON gcp_transfers (destination_id, source, state, priority, id, size_bytes);

CREATE INDEX gcp_transfers_study ON gcp_transfers (study_instance_uid, destination_id);

CREATE INDEX gcp_transfers_series ON gcp_transfers (series_instance_uid, destination_id, state);

CREATE INDEX gcp_transfers_instance ON gcp_transfers (sop_instance_uid);

CREATE INDEX gcp_transfers_batch ON gcp_transfers (batch) WHERE batch IS NOT NULL;

CREATE INDEX gcp_transfers_held ON gcp_transfers (held_for_orthanc_id) WHERE held_for_orthanc_id IS NOT NULL;

CREATE INDEX gcp_transfers_sending ON gcp_transfers (destination_id, batch) WHERE state = 'sending';

CREATE INDEX gcp_transfers_delayed ON gcp_transfers (destination_id, next_attempt_at) WHERE state = 'delayed';

CREATE INDEX gcp_transfers_backfill ON gcp_transfers (source, destination_id, state, confirmed_at, size_bytes) WHERE priority = 2;

CREATE INDEX gcp_transfers_acknowledged ON gcp_transfers (destination_id, next_attempt_at) WHERE state = 'acknowledged';

CREATE INDEX gcp_transfers_owed ON gcp_transfers (destination_id, queued_at) WHERE state IN ('held', 'waiting', 'delayed', 'sending') AND priority <> 2;
