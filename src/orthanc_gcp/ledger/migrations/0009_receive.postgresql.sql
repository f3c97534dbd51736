CREATE TABLE gcp_prefetches (
    id BIGSERIAL NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    source TEXT NOT NULL,
    orthanc_id TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    next_attempt_at FLOAT,
    reason TEXT,
    detail TEXT,
    studies INTEGER,
    noticed_at FLOAT NOT NULL,
    ended_at FLOAT,
    UNIQUE (source, account, orthanc_id)
);

CREATE INDEX gcp_prefetches_open ON gcp_prefetches (source) WHERE state = 'waiting';
