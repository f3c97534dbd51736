-- The ledger of release 0.1.0, which had no version.

CREATE TABLE gcp_backlog (
    source TEXT NOT NULL,
    study TEXT NOT NULL,
    updated TEXT NOT NULL,
    PRIMARY KEY (source, study)
);

CREATE INDEX gcp_backlog_newest ON gcp_backlog (source, updated, study);

CREATE TABLE gcp_cursors (
    source TEXT NOT NULL,
    seq BIGINT NOT NULL,
    since FLOAT NOT NULL,
    PRIMARY KEY (source)
);

CREATE TABLE gcp_events (
    id BIGSERIAL NOT NULL,
    time FLOAT NOT NULL,
    account TEXT NOT NULL,
    study TEXT,
    instance TEXT,
    kind TEXT NOT NULL,
    detail TEXT,
    PRIMARY KEY (id)
);

CREATE INDEX gcp_events_study ON gcp_events (study);

CREATE TABLE gcp_standings (
    name TEXT NOT NULL,
    value JSON NOT NULL,
    PRIMARY KEY (name)
);

CREATE TABLE gcp_transfers (
    id BIGSERIAL NOT NULL,
    account TEXT NOT NULL,
    source TEXT NOT NULL,
    resource TEXT NOT NULL,
    study TEXT NOT NULL,
    series TEXT NOT NULL,
    instance TEXT NOT NULL,
    size BIGINT NOT NULL,
    file TEXT NOT NULL,
    digest TEXT,
    state TEXT NOT NULL,
    urgency SMALLINT NOT NULL,
    change BIGINT NOT NULL,
    held_for TEXT,
    due FLOAT,
    attempts INTEGER NOT NULL,
    company INTEGER,
    replace BOOLEAN NOT NULL,
    reason TEXT,
    detail TEXT,
    batch TEXT,
    worker TEXT,
    identity TEXT,
    received FLOAT NOT NULL,
    wanted FLOAT NOT NULL,
    acknowledged FLOAT,
    confirmed FLOAT,
    PRIMARY KEY (id),
    UNIQUE (account, source, resource)
);

CREATE INDEX gcp_transfers_acknowledged ON gcp_transfers (account, due) WHERE state = 'acknowledged';

CREATE INDEX gcp_transfers_backfill ON gcp_transfers (source, state, confirmed, size) WHERE urgency = 2;

CREATE INDEX gcp_transfers_batch ON gcp_transfers (batch) WHERE batch IS NOT NULL;

CREATE INDEX gcp_transfers_delayed ON gcp_transfers (account, due) WHERE state = 'delayed';

CREATE INDEX gcp_transfers_held ON gcp_transfers (held_for) WHERE held_for IS NOT NULL;

CREATE INDEX gcp_transfers_instance ON gcp_transfers (instance);

CREATE INDEX gcp_transfers_owed ON gcp_transfers (account, wanted) WHERE state IN ('held', 'waiting', 'delayed', 'sending') AND urgency <> 2;

CREATE INDEX gcp_transfers_queue ON gcp_transfers (account, source, state, urgency, id, size);

CREATE INDEX gcp_transfers_sending ON gcp_transfers (account, batch) WHERE state = 'sending';

CREATE INDEX gcp_transfers_series ON gcp_transfers (series, account, state);

CREATE INDEX gcp_transfers_study ON gcp_transfers (study, account);

CREATE TABLE gcp_workers (
    name TEXT NOT NULL,
    source TEXT NOT NULL,
    PRIMARY KEY (name)
);
