-- store_size: events and streams as the planner and the server's statistics estimate them (exact counts would read
-- everything; rows are only ever added, so that the larger estimate is the better one), bytes on disk, the last
-- position drawn.
SELECT greatest(e.reltuples, pg_stat_get_live_tuples(e.oid), 0)::bigint,
       greatest(s.reltuples, pg_stat_get_live_tuples(s.oid), 0)::bigint,
       pg_total_relation_size(e.oid)::bigint,
       (SELECT CASE WHEN q.is_called THEN q.last_value ELSE q.last_value - 1 END
          FROM :"schema".events_position_seq q)
  FROM pg_class e, pg_class s
 WHERE e.oid = ':"schema".events'::regclass
   AND s.oid = ':"schema".streams'::regclass;
