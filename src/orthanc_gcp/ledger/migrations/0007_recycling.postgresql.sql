CREATE TABLE gcp_lost_changes (
    id BIGSERIAL NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    source TEXT NOT NULL,
    first_seq BIGINT NOT NULL,
    last_seq BIGINT NOT NULL,
    changes BIGINT NOT NULL,
    noticed_at FLOAT NOT NULL,
    acknowledged_at FLOAT
);
