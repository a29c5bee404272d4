-- due_schedules: those that a scheduler is to look at now and no other looks at, until the end of its transaction.
SELECT s.name, s.event_id, s.stream, s.type, s.schema_version, s.occurred_at, s.metadata, s.subject, s.data, s.cron IS NOT NULL,
       s.due_at
  FROM :"schema".schedules s
 WHERE s.look_at <= (SELECT clock_timestamp())  -- once: so it is a bound of the index
 ORDER BY s.look_at, s.name
 LIMIT $1
   FOR UPDATE SKIP LOCKED
