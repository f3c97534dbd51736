-- PostgreSQL keeps the names of constraints.

ALTER TABLE gcp_transfers RENAME CONSTRAINT gcp_transfers_account_source_resource_key
    TO gcp_transfers_account_source_orthanc_id_key;

ALTER TABLE gcp_change_cursors RENAME CONSTRAINT gcp_cursors_pkey TO gcp_change_cursors_pkey;

ALTER TABLE gcp_key_values RENAME CONSTRAINT gcp_standings_pkey TO gcp_key_values_pkey;

ALTER TABLE gcp_backfill_studies RENAME CONSTRAINT gcp_backlog_pkey TO gcp_backfill_studies_pkey;
