-- move_schedules: an occurrence of each of these has been appended, in this transaction. What has no more is removed. One that has
-- more to make up for goes behind those that are due.
WITH moved AS MATERIALIZED (
  SELECT s.name,
         CASE WHEN s.cron IS NOT NULL
              THEN :"schema".next_occurrence(s.cron_fields, s.time_zone,
                                             CASE WHEN s.each_missed THEN s.due_at
                                                  ELSE greatest(s.due_at, clock_timestamp()) END)
         END AS next
    FROM :"schema".schedules s
   WHERE s.name = ANY ($1::text[])
), ended AS (
  DELETE FROM :"schema".schedules s
   USING moved m
   WHERE s.name = m.name
     AND (m.next IS NULL OR m.next > s.ends_at)
)
UPDATE :"schema".schedules s
   SET due_at = m.next, look_at = greatest(m.next, clock_timestamp()), last_at = s.due_at, occurrences = s.occurrences + 1, attempts = 0, problem = NULL
  FROM moved m
 WHERE s.name = m.name
   AND m.next IS NOT NULL
   AND (s.ends_at IS NULL OR m.next <= s.ends_at)
