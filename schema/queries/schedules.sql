-- schedules: all of them, or one; without their payloads.
SELECT s.name, s.event_id, s.stream, s.type, s.schema_version, s.cron, s.time_zone, s.each_missed, s.ends_at, s.due_at,
       s.attempts, s.problem, s.occurrences, s.last_at, s.created_by, s.created_at, s.due_at < clock_timestamp() - interval '10 s'
  FROM :"schema".schedules s
 WHERE $1::text IS NULL OR s.name = $1
 ORDER BY s.due_at, s.name
 LIMIT $2
