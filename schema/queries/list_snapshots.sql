-- list_snapshots: $1 stream or null, $2 category or null, $3 stream to go on after, $4 at most so
-- many. By stream, the newest first.
SELECT n.name, s.state_type, s.schema_version, s.fingerprint, s.version, s.latest_time, s.created_at,
       octet_length(s.data)::bigint, last.version
  FROM :"schema".snapshots s
  JOIN :"schema".streams n USING (stream_id)
 CROSS JOIN LATERAL (SELECT max(e.version) AS version FROM :"schema".events e WHERE e.stream_id = s.stream_id) last
 WHERE ($1::text IS NULL OR n.name = $1)
   AND ($2::text IS NULL OR n.name = $2 OR starts_with(n.name, $2 || '-'))
   AND n.name > $3
 ORDER BY n.name, s.state_type, s.version DESC, s.schema_version DESC, s.fingerprint
 LIMIT $4;
