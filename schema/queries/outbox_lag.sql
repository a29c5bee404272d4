-- outbox_lag: what group $1 has still to handle: events of categories $2, types $3 or like $4, behind its cursors (counted up
-- to $5), the time when the first of them was recorded, and where the log ends. $6: whether the log's shards are the group's.
WITH places AS MATERIALIZED (
  SELECT c.shards, p.position
    FROM :"schema".outbox_cursors c
    JOIN :"schema".outbox_positions p ON p.cursor_id = c.cursor_id
   WHERE c.group_id = $1
), reached AS MATERIALIZED (
  SELECT min(position) AS lowest,
         ARRAY (SELECT (SELECT min(p.position) FROM places p WHERE NOT $6 OR get_bit(p.shards, n) = 1)
                  FROM generate_series(0, 255) n
                 ORDER BY n) AS by_shard
    FROM places
)
SELECT count(*), min(e.recorded_at),
       coalesce((SELECT l.position FROM :"schema".events l ORDER BY l.position DESC LIMIT 1), 0)
  FROM (SELECT v.recorded_at
          FROM :"schema".events v, reached r
         WHERE v.position > r.lowest
           AND v.position > r.by_shard[v.shard + 1]
           AND (cardinality($2::text[]) = 0
                OR v.stream_id >> 48 = ANY (ARRAY (SELECT c.category_id::bigint
                                                     FROM :"schema".categories c
                                                    WHERE c.name = ANY ($2))))
           AND (cardinality($3::text[]) + cardinality($4::text[]) = 0 OR v.type = ANY ($3) OR v.type LIKE ANY ($4))
         ORDER BY v.position
         LIMIT $5) e;
