-- An instance that Orthanc does not have is deleted only when it stays away.

ALTER TABLE gcp_transfers ADD COLUMN absent_since FLOAT;

-- An index of Orthanc is recognized by what was read of it, whatever its Orthanc is called.

ALTER TABLE gcp_change_cursors ADD COLUMN name TEXT;

ALTER TABLE gcp_change_cursors ADD COLUMN marks JSON;

ALTER TABLE gcp_change_cursors ADD COLUMN missing JSON;

ALTER TABLE gcp_change_cursors ADD COLUMN seen_at FLOAT;
