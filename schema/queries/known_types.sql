-- known_types: the types of events that are in the log: all of them in a small one; in a large one those at its ends and
-- those that the planner's statistics know.
SELECT DISTINCT t.type
  FROM (SELECT e.type FROM (SELECT type FROM :"schema".events ORDER BY position LIMIT 10000) e
        UNION ALL
        SELECT e.type FROM (SELECT type FROM :"schema".events ORDER BY position DESC LIMIT 10000) e
        UNION ALL
        SELECT unnest(s.most_common_vals::text::text[])
          FROM pg_stats s
         WHERE quote_ident(s.schemaname) = quote_ident($1)
           AND s.tablename = 'events'
           AND s.attname = 'type') t
 ORDER BY 1;
