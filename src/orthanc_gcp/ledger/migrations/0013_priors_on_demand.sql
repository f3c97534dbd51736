-- When somebody has asked for the priors of a study, whatever the rules of Prefetch say.

ALTER TABLE gcp_prefetches ADD COLUMN demanded_at FLOAT;
