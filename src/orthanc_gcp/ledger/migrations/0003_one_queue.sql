-- Claims name their workers, and locks say which of them are alive: nothing else is to be written.

DROP TABLE gcp_workers;
