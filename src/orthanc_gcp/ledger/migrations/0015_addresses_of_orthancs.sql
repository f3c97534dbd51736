-- Where the Orthanc of an index was asked last, by a worker that it has not started.

ALTER TABLE gcp_change_cursors ADD COLUMN address TEXT;
