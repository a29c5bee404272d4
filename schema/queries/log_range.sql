-- log_range: the events after position $1 up to $2, no more than the first $3. All lie below the horizon.
SELECT position, stream_id, version, recorded_at, occurred_at, event_id, schema_version, type, metadata, data
  FROM :"schema".events
 WHERE position > $1
   AND position <= $2
 ORDER BY position
 LIMIT $3;
