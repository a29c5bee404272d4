-- store_size: events and streams, estimated (exact counts would read everything), bytes on disk, the last position drawn.
--
-- The estimate is the planner's, how many rows a page had when autovacuum last came by, times the pages, or the statistics'
-- where that is more, as rows are only ever added. Where autovacuum has not come by since the table was half as large, a
-- sample of 8 MB says how many there are: after a crash the statistics know next to nothing.
WITH relation AS (
  SELECT c.relname AS name, c.relkind, pg_relation_size(c.oid)::double precision AS bytes,
         pg_relation_size(c.oid) / current_setting('block_size')::double precision AS pages,
         c.relpages AS known_pages, c.reltuples AS known_rows,
         greatest(pg_stat_get_live_tuples(c.oid), 0)::double precision AS live
    FROM pg_class c
   WHERE c.oid IN (':"schema".events'::regclass, ':"schema".streams'::regclass)
),
known AS (
  SELECT name, live, known_rows * pages / greatest(known_pages, 1) AS planned,
         relkind = 'r' AND bytes > 0 AND (known_rows <= 0 OR known_pages < pages / 2) AS is_unknown,
         -- Of the pages, in percent.
         least(100, 8e8 / greatest(bytes, 1))::real AS share
    FROM relation
),
estimated AS (
  -- Each table is read only where its case says so.
  SELECT name, live, planned, is_unknown,
         CASE WHEN NOT is_unknown THEN 0
              WHEN name = 'events'
              THEN (SELECT count(*)
                      FROM :"schema".events TABLESAMPLE SYSTEM ((SELECT share FROM known WHERE name = 'events')))
              ELSE (SELECT count(*)
                      FROM :"schema".streams TABLESAMPLE SYSTEM ((SELECT share FROM known WHERE name = 'streams')))
          END * 100 / share AS sampled
    FROM known
),
size AS (
  SELECT name,
         CASE WHEN NOT is_unknown THEN greatest(live, planned)
              WHEN live >= 0.8 * sampled THEN live
              ELSE sampled
          END::bigint AS rows
    FROM estimated
)
SELECT (SELECT rows FROM size WHERE name = 'events'),
       (SELECT rows FROM size WHERE name = 'streams'),
       pg_total_relation_size(':"schema".events'::regclass)::bigint,
       (SELECT CASE WHEN q.is_called THEN q.last_value ELSE q.last_value - 1 END
          FROM :"schema".events_position_seq q);
