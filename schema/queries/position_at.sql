-- position_at: the position after which every event was recorded at the time $1 or later; null: there is none. Events are
-- recorded nearly in the order of their positions; only appends that were open for more than an hour could be further apart.
SELECT min(e.position) - 1
  FROM :"schema".events e
 WHERE e.recorded_at >= $1
   AND e.position > coalesce((SELECT b.position
                                FROM :"schema".events b
                               WHERE b.recorded_at < $1 - interval '1 hour'
                               ORDER BY b.position DESC
                               LIMIT 1), 0);
