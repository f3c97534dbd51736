-- What is to come back from stores.

CREATE TABLE gcp_retrievals (
    id BIGSERIAL NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    destination_id BIGINT NOT NULL,
    source TEXT NOT NULL,
    study_instance_uid TEXT NOT NULL,
    series_instance_uid TEXT,
    sop_instance_uid TEXT,
    compare_bytes BOOLEAN NOT NULL,
    state TEXT NOT NULL,
    rounds INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    next_attempt_at FLOAT,
    reason TEXT,
    detail TEXT,
    requested_at FLOAT NOT NULL,
    ended_at FLOAT
);

CREATE TABLE gcp_retrieved_instances (
    id BIGSERIAL NOT NULL PRIMARY KEY,
    retrieval_id BIGINT NOT NULL,
    destination_id BIGINT NOT NULL,
    study_instance_uid TEXT NOT NULL,
    series_instance_uid TEXT NOT NULL,
    sop_instance_uid TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    next_attempt_at FLOAT,
    reason TEXT,
    detail TEXT,
    md5 TEXT,
    sha256 TEXT,
    orthanc_id TEXT,
    attachment_uuid TEXT,
    seen_round INTEGER NOT NULL,
    retrieved_at FLOAT,
    UNIQUE (retrieval_id, study_instance_uid, series_instance_uid, sop_instance_uid)
);

CREATE INDEX gcp_retrievals_open ON gcp_retrievals (source) WHERE state IN ('waiting', 'running');

CREATE INDEX gcp_retrievals_account ON gcp_retrievals (account, id);

CREATE INDEX gcp_retrieved_instances_queue ON gcp_retrieved_instances (retrieval_id, state, study_instance_uid, series_instance_uid, id);

CREATE INDEX gcp_retrieved_instances_origin ON gcp_retrieved_instances (sop_instance_uid) WHERE md5 IS NOT NULL;
