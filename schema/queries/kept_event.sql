-- kept_event: what a schedule keeps, with the columns of due_schedules.
SELECT s.name, s.event_id, s.stream, s.type, s.schema_version, s.occurred_at, s.metadata, s.subject, s.data, s.cron IS NOT NULL,
       s.due_at
  FROM :"schema".schedules s
 WHERE s.name = $1
