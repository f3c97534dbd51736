-- Up to when an index was read, and where a worker that its Orthanc has not started asked for it.

ALTER TABLE gcp_change_cursors ADD COLUMN read_until FLOAT;

ALTER TABLE gcp_change_cursors ADD COLUMN address TEXT;
