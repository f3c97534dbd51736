-- How many instances were confirmed and unsent of each account, in steps of the last day.

CREATE TABLE gcp_transfer_history (
    account TEXT NOT NULL,
    noted_at FLOAT NOT NULL,
    confirmed_instances BIGINT NOT NULL,
    confirmed_bytes BIGINT NOT NULL,
    unsent_instances BIGINT NOT NULL,
    unsent_bytes BIGINT NOT NULL,
    PRIMARY KEY (account, noted_at)
);
