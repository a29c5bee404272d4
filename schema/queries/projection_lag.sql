-- projection_lag: the events of categories $2 and types $3 after position $1: how many (counted up to $4), when the
-- first of them was recorded, and where the log ends.
SELECT count(*), min(e.recorded_at),
       coalesce((SELECT l.position FROM :"schema".events l ORDER BY l.position DESC LIMIT 1), 0)
  FROM (SELECT recorded_at
          FROM :"schema".events
         WHERE position > $1
           AND (cardinality($2::text[]) = 0
                OR stream_id >> 48 = ANY (ARRAY (SELECT c.category_id::bigint
                                                   FROM :"schema".categories c
                                                  WHERE c.name = ANY ($2))))
           AND (cardinality($3::text[]) = 0 OR type = ANY ($3))
         ORDER BY position
         LIMIT $4) e;
