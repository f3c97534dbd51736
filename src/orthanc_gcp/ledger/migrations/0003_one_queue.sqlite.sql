-- What DBOS has left in the same file; tables that refer to another go first.

DROP TABLE IF EXISTS operation_outputs;

DROP TABLE IF EXISTS workflow_input;

DROP TABLE IF EXISTS workflow_output;

DROP TABLE IF EXISTS workflow_events_history;

DROP TABLE IF EXISTS workflow_events;

DROP TABLE IF EXISTS notifications;

DROP TABLE IF EXISTS streams;

DROP TABLE IF EXISTS workflow_schedules;

DROP TABLE IF EXISTS queues;

DROP TABLE IF EXISTS application_versions;

DROP TABLE IF EXISTS workflow_status;

DROP TABLE IF EXISTS dbos_migrations;
