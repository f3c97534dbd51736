-- An account is not one store for ever: each that it names is a destination of its own.

CREATE TABLE gcp_destinations (
    id BIGSERIAL NOT NULL,
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

DROP INDEX gcp_transfers_queue, gcp_transfers_study, gcp_transfers_series, gcp_transfers_sending,
    gcp_transfers_delayed, gcp_transfers_backfill, gcp_transfers_acknowledged, gcp_transfers_owed;

ALTER TABLE gcp_transfers DROP CONSTRAINT gcp_transfers_account_source_orthanc_id_key;

ALTER TABLE gcp_transfers ADD COLUMN destination_id BIGINT;

UPDATE gcp_transfers SET destination_id = gcp_destinations.id
    FROM gcp_destinations WHERE gcp_destinations.account = gcp_transfers.account;

ALTER TABLE gcp_transfers ALTER COLUMN destination_id SET NOT NULL;

ALTER TABLE gcp_transfers ADD UNIQUE (destination_id, source, orthanc_id);

CREATE INDEX gcp_transfers_queue ON gcp_transfers (destination_id, source, state, priority, id, size_bytes);

CREATE INDEX gcp_transfers_study ON gcp_transfers (study_instance_uid, destination_id);

CREATE INDEX gcp_transfers_series ON gcp_transfers (series_instance_uid, destination_id, state);

CREATE INDEX gcp_transfers_sending ON gcp_transfers (destination_id, batch) WHERE state = 'sending';

CREATE INDEX gcp_transfers_delayed ON gcp_transfers (destination_id, next_attempt_at) WHERE state = 'delayed';

CREATE INDEX gcp_transfers_backfill ON gcp_transfers (source, destination_id, state, confirmed_at, size_bytes) WHERE priority = 2;

CREATE INDEX gcp_transfers_acknowledged ON gcp_transfers (destination_id, next_attempt_at) WHERE state = 'acknowledged';

CREATE INDEX gcp_transfers_owed ON gcp_transfers (destination_id, queued_at) WHERE state IN ('held', 'waiting', 'delayed', 'sending') AND priority <> 2;
