-- end_projection_load: all parts of build $1 have reached $3, the whole is at $2: from now on there is the whole alone.
WITH parts AS (
  DELETE FROM :"schema".projection_checkpoints
   WHERE build = $1
     AND part >= 0
  RETURNING applied
)
UPDATE :"schema".projection_checkpoints
   SET position   = $3,
       applied    = applied + (SELECT coalesce(sum(p.applied), 0) FROM parts p),
       updated_at = clock_timestamp()
 WHERE build = $1
   AND part = -1
   AND position = $2;
