-- stream_forwards: $1 stream id, $2 first and $3 last version, $4 at most so many rows, with payloads of at most $5 bytes: larger
-- ones are null.
SELECT position, stream_id, version, recorded_at, occurred_at, event_id, schema_version, type, metadata,
       CASE WHEN octet_length(data) <= $5 THEN data END AS data
  FROM :"schema".events
 WHERE stream_id = $1
   AND version BETWEEN $2 AND $3
 ORDER BY version
 LIMIT $4;
