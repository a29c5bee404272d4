-- touched_relations: the relations that this transaction has locked, by whatever way its statements have reached them,
-- outside of pg_catalog, the session's temporary schema and the schema $1; those of $2 may be read.
SELECT n.nspname || '.' || c.relname
  FROM pg_locks l
  JOIN pg_class c ON c.oid = l.relation
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE l.pid = pg_backend_pid()
   AND l.locktype = 'relation'
   AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
   AND c.relkind NOT IN ('i', 'I')
   AND n.nspname NOT IN ('pg_catalog', 'pg_toast')
   AND n.oid <> pg_my_temp_schema()
   AND n.nspname IS DISTINCT FROM $1::text
   AND NOT (n.nspname || '.' || c.relname = ANY ($2::text[]) AND l.mode = 'AccessShareLock')
   AND NOT starts_with(n.nspname, 'pg_toast_temp_')
 ORDER BY 1
 LIMIT 1;
