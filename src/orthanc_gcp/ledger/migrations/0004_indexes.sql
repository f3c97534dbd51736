-- An instance that Orthanc does not have is deleted only when it stays away.

ALTER TABLE gcp_transfers ADD COLUMN absent_since FLOAT;
