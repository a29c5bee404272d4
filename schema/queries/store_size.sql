-- store_size: events and streams as the planner estimates them (exact counts would read everything), bytes on disk,
-- the last position drawn.
SELECT coalesce((SELECT greatest(c.reltuples, 0)::bigint FROM pg_class c WHERE c.oid = e.oid), 0),
       coalesce((SELECT greatest(c.reltuples, 0)::bigint FROM pg_class c WHERE c.oid = s.oid), 0),
       pg_total_relation_size(e.oid)::bigint,
       (SELECT CASE WHEN q.is_called THEN q.last_value ELSE q.last_value - 1 END
          FROM :"schema".events_position_seq q)
  FROM (SELECT ':"schema".events'::regclass AS oid) e,
       (SELECT ':"schema".streams'::regclass AS oid) s;
