-- reset_projection_checkpoint: build $1 begins before the first event again.
WITH parts AS (
  DELETE FROM :"schema".projection_checkpoints
   WHERE build = $1
     AND part >= 0
)
UPDATE :"schema".projection_checkpoints
   SET position   = 0,
       applied    = 0,
       updated_at = clock_timestamp()
 WHERE build = $1
   AND part = -1;
