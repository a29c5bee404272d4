-- recorded_times: when the events at positions $1 were recorded.
SELECT position, recorded_at
  FROM :"schema".events
 WHERE position = ANY ($1)
 ORDER BY position;
