-- skipped_projection_events: what the builds of projection $1 (or all, where null) have passed over, after position $2.
SELECT b.name, b.build, b.role, s.position, s.stream, s.version, s.type, s.event_id, s.problem, s.at
  FROM :"schema".projection_skipped s
  JOIN :"schema".projection_builds b ON b.build = s.build
 WHERE ($1::text IS NULL OR b.name = $1)
   AND s.position > $2
 ORDER BY s.position, b.build
 LIMIT $3;
