-- append_placed: see functions/append_placed.sql. $16: how long it waits for a lock; null: as the session has it.
SELECT :"schema".append_placed($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
 WHERE $16::text IS NULL OR pg_catalog.set_config('lock_timeout', $16, true) IS NOT NULL;
