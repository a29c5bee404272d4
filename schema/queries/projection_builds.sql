-- projection_builds: every build, how far it is, and who runs it: of the projection $1, or of all (null).
SELECT b.build, b.name, b.version, b.role, b.kind, b.file, b.categories, b.types, b.is_inline, b.is_engaged,
       b.goes_live, b.side_effects, b.is_indexed, b.caught_up_at, b.paused_at, b.failure::text, b.created_at,
       b.live_since, c.position, c.applied, l.process, l.rate,
       (l.expires_at > clock_timestamp()
        AND (l.presence IS NULL
             OR :"schema".is_present(':"schema".projection_leases', l.presence))) AS is_owned
  FROM :"schema".projection_builds b
  JOIN :"schema".projection_leases l ON l.build = b.build
  JOIN LATERAL (SELECT CASE WHEN count(*) > 1 THEN min(p.position) FILTER (WHERE p.part >= 0)
                            ELSE min(p.position) END AS position,
                       sum(p.applied)::bigint AS applied
                  FROM :"schema".projection_checkpoints p
                 WHERE p.build = b.build) c ON true
 WHERE $1::text IS NULL
    OR b.name = $1
 ORDER BY b.name, b.build;
