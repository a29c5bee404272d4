-- doctor_horizon: who holds the horizon back: appends that are still open, the oldest first.
SELECT l.pid, (l.classid::bigint & 65535) << 32 | l.objid::bigint,
       a.usename::text, a.application_name, a.state,
       extract(epoch FROM clock_timestamp() - a.xact_start)::float8
  FROM pg_locks l
  LEFT JOIN pg_stat_activity a ON a.pid = l.pid
 WHERE l.locktype = 'advisory'
   AND l.objsubid = 1
   AND l.mode = 'ShareLock'
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND l.classid::bigint >> 16 = (':"schema".events'::regclass::oid::bigint & 32767)
 ORDER BY 2;
