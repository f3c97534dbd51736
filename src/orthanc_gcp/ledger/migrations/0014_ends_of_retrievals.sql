-- What has ended well is found by when it did, to be removed.

CREATE INDEX gcp_retrievals_complete ON gcp_retrievals (ended_at) WHERE state = 'complete';

CREATE INDEX gcp_prefetches_ended ON gcp_prefetches (ended_at) WHERE ended_at IS NOT NULL;
