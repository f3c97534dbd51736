-- What DBOS has left in its schema, unless another program has workflows there as well.

DO $$
BEGIN
    IF to_regclass('dbos.workflow_status') IS NOT NULL THEN
        IF NOT EXISTS (
            SELECT FROM dbos.workflow_status WHERE name NOT IN ('transfer', 'look')
        ) THEN
            DROP SCHEMA dbos CASCADE;
        END IF;
    END IF;
END
$$;
