-- list_streams: $1 category or null, $2 name to go on after, $3 at most so many. Streams with events, by name.
SELECT s.name, l.version, f.recorded_at, l.recorded_at, l.position
  FROM :"schema".streams s
 CROSS JOIN LATERAL (SELECT e.version, e.recorded_at, e.position
                       FROM :"schema".events e
                      WHERE e.stream_id = s.stream_id
                      ORDER BY e.version DESC
                      LIMIT 1) l
 CROSS JOIN LATERAL (SELECT e.recorded_at
                       FROM :"schema".events e
                      WHERE e.stream_id = s.stream_id
                        AND e.version = 1) f
 WHERE s.name > $2
   AND ($1::text IS NULL OR s.name = $1 OR starts_with(s.name, $1 || '-'))
 ORDER BY s.name
 LIMIT $3;
