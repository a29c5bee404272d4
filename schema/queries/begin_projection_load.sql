-- begin_projection_load: gives build $1, whose checkpoint is at $2, a checkpoint for each of its 16 parts. None is made
-- where another runner has.
INSERT INTO :"schema".projection_checkpoints (build, part, position)
SELECT c.build, p.part, c.position
  FROM :"schema".projection_checkpoints c
 CROSS JOIN generate_series(0, 15) AS p (part)
 WHERE c.build = $1
   AND c.part = -1
   AND c.position = $2
    ON CONFLICT DO NOTHING;
