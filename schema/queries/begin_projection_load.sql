-- begin_projection_load: gives build $1, whose checkpoint is at $2, a checkpoint for each of its 16 parts. None is made
-- where another runner has, or moves the whole just now: its row is held, and looked at again. The build's own row is held
-- before it, as everyone does: whoever removes a build holds that, and then deletes its checkpoints.
WITH whole AS (
  SELECT c.build, c.position
    FROM :"schema".projection_checkpoints c
    JOIN :"schema".projection_builds b USING (build)
   WHERE c.build = $1
     AND c.part = -1
     AND c.position = $2
     AND NOT b.is_engaged
     FOR KEY SHARE OF b
     FOR UPDATE OF c
)
INSERT INTO :"schema".projection_checkpoints (build, part, position)
SELECT w.build, p.part, w.position
  FROM whole w
 CROSS JOIN generate_series(0, 15) AS p (part)
    ON CONFLICT DO NOTHING;
