-- What the store was seen to have of an instance, when it is to be sent anew.

ALTER TABLE gcp_transfers ADD COLUMN stored_sha256 TEXT;
