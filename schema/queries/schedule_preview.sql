-- schedule_preview: the next occurrences of a cron expression.
WITH RECURSIVE o AS (
  SELECT 1 AS number, :"schema".next_occurrence($1::text::jsonb, $2, $3) AS at
  UNION ALL
  SELECT o.number + 1, :"schema".next_occurrence($1::text::jsonb, $2, o.at)
    FROM o
   WHERE o.number < $4
     AND o.at IS NOT NULL
)
SELECT o.at FROM o WHERE o.at IS NOT NULL ORDER BY o.number
