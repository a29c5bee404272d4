-- renew_projection_leases: prolongs those of the leases $2 (builds) and $3 (epochs) that are still $1's, for $5
-- milliseconds; $4 are their rates, $6 the advisory lock that it holds by now. Gives their builds.
UPDATE :"schema".projection_leases l
   SET expires_at = clock_timestamp() + $5 * interval '1 millisecond',
       rate       = h.rate,
       presence   = $6
  FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS h (build, epoch, rate)
 WHERE l.build = h.build
   AND l.epoch = h.epoch
   AND l.owner = $1
RETURNING l.build;
