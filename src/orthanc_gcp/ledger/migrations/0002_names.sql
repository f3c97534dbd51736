-- Columns, tables and keys by the terms of DICOM and of Orthanc; the version that is counted here.

ALTER TABLE gcp_transfers RENAME COLUMN resource TO orthanc_id;

ALTER TABLE gcp_transfers RENAME COLUMN study TO study_instance_uid;

ALTER TABLE gcp_transfers RENAME COLUMN series TO series_instance_uid;

ALTER TABLE gcp_transfers RENAME COLUMN instance TO sop_instance_uid;

ALTER TABLE gcp_transfers RENAME COLUMN size TO size_bytes;

ALTER TABLE gcp_transfers RENAME COLUMN file TO attachment_uuid;

ALTER TABLE gcp_transfers RENAME COLUMN digest TO sha256;

ALTER TABLE gcp_transfers RENAME COLUMN urgency TO priority;

ALTER TABLE gcp_transfers RENAME COLUMN change TO change_seq;

ALTER TABLE gcp_transfers RENAME COLUMN held_for TO held_for_orthanc_id;

ALTER TABLE gcp_transfers RENAME COLUMN due TO next_attempt_at;

ALTER TABLE gcp_transfers RENAME COLUMN company TO max_batch_instances;

ALTER TABLE gcp_transfers RENAME COLUMN identity TO sent_as;

ALTER TABLE gcp_transfers RENAME COLUMN received TO received_at;

ALTER TABLE gcp_transfers RENAME COLUMN wanted TO queued_at;

ALTER TABLE gcp_transfers RENAME COLUMN acknowledged TO acknowledged_at;

ALTER TABLE gcp_transfers RENAME COLUMN confirmed TO confirmed_at;

ALTER TABLE gcp_events RENAME COLUMN time TO occurred_at;

ALTER TABLE gcp_events RENAME COLUMN study TO study_instance_uid;

ALTER TABLE gcp_events RENAME COLUMN instance TO sop_instance_uid;

ALTER TABLE gcp_cursors RENAME TO gcp_change_cursors;

ALTER TABLE gcp_standings RENAME TO gcp_key_values;

UPDATE gcp_key_values SET name = 'unreadable:' || substr(name, 7) WHERE name LIKE 'aside:%';

UPDATE gcp_key_values SET name = 'alerts:' || substr(name, 8) WHERE name LIKE 'alarms:%';

UPDATE gcp_key_values SET name = 'rate_limit:' || substr(name, 11) WHERE name LIKE 'allowance:%';

DROP INDEX gcp_backlog_newest;

ALTER TABLE gcp_backlog RENAME COLUMN study TO orthanc_id;

ALTER TABLE gcp_backlog RENAME COLUMN updated TO last_update;

ALTER TABLE gcp_backlog RENAME TO gcp_backfill_studies;

CREATE INDEX gcp_backfill_studies_newest ON gcp_backfill_studies (source, last_update, orthanc_id);

CREATE TABLE gcp_schema_version (version INTEGER NOT NULL);
