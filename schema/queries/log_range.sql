-- log_range: the events after position $1 up to $2, no more than the first $3, with payloads of at most $4 bytes:
-- larger ones are null. All lie below the horizon.
SELECT position, stream_id, version, recorded_at, occurred_at, event_id, schema_version, type, metadata,
       CASE WHEN octet_length(data) <= $4 THEN data END AS data
  FROM :"schema".events
 WHERE position > $1
   AND position <= $2
 ORDER BY position
 LIMIT $3;
