-- begin_projection_load: gives build $1, whose checkpoint is at $2, a checkpoint for each of its 16 parts. None is made
-- where another runner has, or moves the whole just now: its row is held, and looked at again.
WITH whole AS (
  SELECT c.build, c.position
    FROM :"schema".projection_checkpoints c
   WHERE c.build = $1
     AND c.part = -1
     AND c.position = $2
     AND NOT EXISTS (SELECT FROM :"schema".projection_builds b WHERE b.build = $1 AND b.is_engaged)
     FOR UPDATE OF c
)
INSERT INTO :"schema".projection_checkpoints (build, part, position)
SELECT w.build, p.part, w.position
  FROM whole w
 CROSS JOIN generate_series(0, 15) AS p (part)
    ON CONFLICT DO NOTHING;
