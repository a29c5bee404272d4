-- stream_version: $1 name. The last version, or no row.
SELECT e.version
  FROM :"schema".streams s
  JOIN :"schema".events e USING (stream_id)
 WHERE s.name = $1
 ORDER BY e.version DESC
 LIMIT 1;
