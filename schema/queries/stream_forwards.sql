-- stream_forwards: $1 stream id, $2 first and $3 last version, $4 at most so many rows.
SELECT position, stream_id, version, recorded_at, occurred_at, event_id, schema_version, type, metadata, data
  FROM :"schema".events
 WHERE stream_id = $1
   AND version BETWEEN $2 AND $3
 ORDER BY version
 LIMIT $4;
