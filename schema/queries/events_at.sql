-- events_at: the events at the positions $1, in order.
SELECT position, stream_id, version, recorded_at, occurred_at, event_id, schema_version, type, metadata, data
  FROM :"schema".events
 WHERE position = ANY ($1)
 ORDER BY position;
