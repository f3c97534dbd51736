-- What notifications of a store, and the rules of Prefetch, want back.

ALTER TABLE gcp_retrievals ADD COLUMN cause TEXT;

ALTER TABLE gcp_retrievals ADD COLUMN message_id TEXT;

CREATE INDEX gcp_retrievals_study ON gcp_retrievals (study_instance_uid, source);

CREATE INDEX gcp_retrievals_instance ON gcp_retrievals (sop_instance_uid) WHERE sop_instance_uid IS NOT NULL;

CREATE INDEX gcp_retrievals_unwanted ON gcp_retrievals (account) WHERE state = 'unwanted';
