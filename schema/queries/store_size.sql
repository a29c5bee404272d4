-- store_size: events and streams, estimated (exact counts would read everything), bytes on disk, the last position drawn.
--
-- The planner and the server's statistics each have an estimate, of which the larger is the better one, as rows are only
-- ever added. After a crash both may know next to nothing: then it is what a sample of 8 MB says, or all of a smaller table.
WITH share AS MATERIALIZED (
  SELECT least(100, 8e8 / greatest(pg_relation_size(':"schema".events'::regclass), 1))::real AS events,
         least(100, 8e8 / greatest(pg_relation_size(':"schema".streams'::regclass), 1))::real AS streams
),
sample AS (
  SELECT (SELECT count(*) FROM :"schema".events TABLESAMPLE SYSTEM ((SELECT events FROM share))) * 100 / share.events
           AS events,
         (SELECT count(*) FROM :"schema".streams TABLESAMPLE SYSTEM ((SELECT streams FROM share))) * 100 / share.streams
           AS streams
    FROM share
),
known AS (
  SELECT greatest(e.reltuples, pg_stat_get_live_tuples(e.oid), 0) AS events,
         greatest(s.reltuples, pg_stat_get_live_tuples(s.oid), 0) AS streams
    FROM pg_class e, pg_class s
   WHERE e.oid = ':"schema".events'::regclass
     AND s.oid = ':"schema".streams'::regclass
)
SELECT (CASE WHEN known.events >= 0.8 * sample.events THEN known.events ELSE sample.events END)::bigint,
       (CASE WHEN known.streams >= 0.8 * sample.streams THEN known.streams ELSE sample.streams END)::bigint,
       pg_total_relation_size(':"schema".events'::regclass)::bigint,
       (SELECT CASE WHEN q.is_called THEN q.last_value ELSE q.last_value - 1 END
          FROM :"schema".events_position_seq q)
  FROM known, sample;
