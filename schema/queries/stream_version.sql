-- stream_version: $1 name. The last version, or no row. Not a join: the planner may sort a whole stream for one.
SELECT e.version
  FROM :"schema".events e
 WHERE e.stream_id = (SELECT s.stream_id FROM :"schema".streams s WHERE s.name = $1)
 ORDER BY e.version DESC
 LIMIT 1;
