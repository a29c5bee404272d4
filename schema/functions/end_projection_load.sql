-- end_projection_load: all parts of a build have reached `parts_at`, and no event of its own follows up to `reached`: from
-- now on there is the whole alone, whose checkpoint has stood at `known`. Where it is otherwise, another runner is at work:
-- then it fails (SQLSTATE ESP01) and changes nothing.
CREATE OR REPLACE FUNCTION end_projection_load(
  build integer, known bigint, parts_at bigint, reached bigint
) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
  ready bigint;
BEGIN
  -- All rows are held before they are looked at.
  PERFORM FROM projection_checkpoints c WHERE c.build = end_projection_load.build ORDER BY c.part FOR UPDATE;
  SELECT count(*) FILTER (WHERE c.position = CASE c.part WHEN -1 THEN known ELSE parts_at END)
    INTO ready
    FROM projection_checkpoints c
   WHERE c.build = end_projection_load.build;
  IF ready <> 17
     OR EXISTS (SELECT FROM projection_builds b WHERE b.build = end_projection_load.build AND b.is_engaged) THEN
    RAISE EXCEPTION 'the checkpoints of build % are not where this runner left them', end_projection_load.build
      USING ERRCODE = 'ESP01';
  END IF;
  UPDATE projection_checkpoints c
     SET position   = greatest(reached, parts_at),
         applied    = (SELECT sum(p.applied) FROM projection_checkpoints p WHERE p.build = c.build),
         updated_at = clock_timestamp()
   WHERE c.build = end_projection_load.build
     AND c.part = -1;
  DELETE FROM projection_checkpoints c WHERE c.build = end_projection_load.build AND c.part >= 0;
END
$$;
