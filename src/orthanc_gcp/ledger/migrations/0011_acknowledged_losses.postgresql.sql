-- Who has acknowledged which losses, and when.

ALTER TABLE gcp_lost_changes ADD COLUMN acknowledged_by TEXT;

CREATE TABLE gcp_acknowledged_losses (
    id BIGSERIAL NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    source TEXT NOT NULL,
    study_instance_uid TEXT NOT NULL,
    instances INTEGER NOT NULL,
    size_bytes BIGINT NOT NULL,
    first_received_at FLOAT NOT NULL,
    last_received_at FLOAT NOT NULL,
    acknowledged_at FLOAT NOT NULL,
    acknowledged_by TEXT NOT NULL
);
