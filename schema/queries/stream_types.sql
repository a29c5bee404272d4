-- stream_types: $1 stream name. How many events of each type it has, and their bytes as stored.
SELECT e.type, count(*), sum(octet_length(e.data))::bigint, min(e.version), max(e.version)
  FROM :"schema".streams s
  JOIN :"schema".events e USING (stream_id)
 WHERE s.name = $1
 GROUP BY e.type
 ORDER BY e.type;
