-- append_event: see functions/append_event.sql. $10: how long it waits for a lock; null: as the session has it.
SELECT :"schema".append_event($1, $2, $3, $4, $5, $6, $7, $8, $9)
 WHERE $10::text IS NULL OR pg_catalog.set_config('lock_timeout', $10, true) IS NOT NULL;
