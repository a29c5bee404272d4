-- postpone_schedule: this occurrence could not be appended. It is tried again after a second, then after twice as long each time,
-- five minutes at most; nothing of a cron's is left out, nor overtaken, and nothing comes before its time.
UPDATE :"schema".schedules s
   SET attempts = s.attempts + 1,
       problem = $2,
       look_at = greatest(s.due_at,
                          clock_timestamp() + least(interval '1 second' * 2 ^ least(s.attempts, 20), interval '5 minutes'))
 WHERE s.name = $1
   AND s.event_id = $3
   AND s.due_at = $4
