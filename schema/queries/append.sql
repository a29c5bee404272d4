-- append: see functions/append.sql. $19: how long it waits for a lock; null: as the session has it.
SELECT (a.result).out_stream_ids, (a.result).outcomes, (a.result).versions, (a.result).positions
  -- The condition is looked at before the function is called, and that once.
  FROM (SELECT :"schema".append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18) AS result
         WHERE $19::text IS NULL OR pg_catalog.set_config('lock_timeout', $19, true) IS NOT NULL
        OFFSET 0) AS a;
