-- take_projection_lease: makes $2 the runner of build $1, for $5 milliseconds, where nobody else is, and gives the
-- lease's epoch. $3 is the advisory lock that it holds while it is connected, $4 what people see.
UPDATE :"schema".projection_leases l
   SET owner      = $2,
       presence   = $3,
       process    = $4,
       epoch      = l.epoch + 1,
       rate       = 0,
       expires_at = clock_timestamp() + $5 * interval '1 millisecond'
 WHERE l.build = $1
   AND NOT EXISTS (SELECT FROM :"schema".projection_builds b WHERE b.build = $1 AND b.is_engaged)
   AND (l.owner = $2
        OR l.expires_at < clock_timestamp()
        OR (l.presence IS NOT NULL
            AND NOT :"schema".is_present(':"schema".projection_leases', l.presence)))
RETURNING l.epoch;
