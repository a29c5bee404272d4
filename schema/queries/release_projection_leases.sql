-- release_projection_leases: ends the leases of $1 at once: of build $2, or all (null).
UPDATE :"schema".projection_leases
   SET owner      = NULL,
       process    = NULL,
       rate       = 0,
       expires_at = '-infinity'
 WHERE owner = $1
   AND ($2::integer IS NULL OR build = $2);
