-- old_snapshots: the oldest transaction of this database that has a snapshot and began before build $1 had caught up. It
-- could see the build's tables as they were then.
SELECT a.pid, coalesce(a.application_name, ''), extract(epoch FROM clock_timestamp() - a.xact_start)::bigint
  FROM pg_stat_activity a
  JOIN :"schema".projection_builds b ON b.build = $1
 WHERE a.datname = current_database()
   AND a.backend_type = 'client backend'
   AND a.pid <> pg_backend_pid()
   AND a.backend_xmin IS NOT NULL
   AND a.xact_start < b.caught_up_at
 ORDER BY a.xact_start
 LIMIT 1;
