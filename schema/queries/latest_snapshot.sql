-- latest_snapshot: $1 stream id, $2 state type, $3 schema version, $4 fingerprint, $5 not after this version, $6 with no
-- event after this time (or null). Only one whose last event is still the one that it was made after.
SELECT s.version, s.event_id, s.latest_time, s.checksum, s.data, s.created_at
  FROM :"schema".snapshots s
 WHERE s.stream_id = $1
   AND s.state_type = $2
   AND s.schema_version = $3
   AND s.fingerprint = $4
   AND s.version <= $5
   AND ($6::timestamptz IS NULL OR s.latest_time <= $6)
   AND s.event_id = (SELECT e.event_id
                       FROM :"schema".events e
                      WHERE e.stream_id = s.stream_id
                        AND e.version = s.version)
 ORDER BY s.version DESC
 LIMIT 1;
