-- What modalities want stores to be responsible for.

CREATE TABLE gcp_storage_commitments (
    id INTEGER NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    destination_id BIGINT NOT NULL,
    transaction_uid TEXT NOT NULL,
    calling_aet TEXT NOT NULL,
    called_aet TEXT NOT NULL,
    address TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    next_attempt_at FLOAT,
    detail TEXT,
    requested_at FLOAT NOT NULL,
    ended_at FLOAT
);

CREATE TABLE gcp_commitment_references (
    id INTEGER NOT NULL PRIMARY KEY,
    commitment_id BIGINT NOT NULL,
    sop_class_uid TEXT NOT NULL,
    sop_instance_uid TEXT NOT NULL,
    state TEXT NOT NULL,
    failure_reason INTEGER
);

CREATE INDEX gcp_storage_commitments_open ON gcp_storage_commitments (next_attempt_at) WHERE state IN ('waiting', 'decided');

CREATE INDEX gcp_storage_commitments_transaction ON gcp_storage_commitments (transaction_uid);

CREATE INDEX gcp_storage_commitments_ended ON gcp_storage_commitments (ended_at);

CREATE INDEX gcp_commitment_references_queue ON gcp_commitment_references (commitment_id, state, id);
