-- advance_projection: moves parts of a build's checkpoint from where they are known to be. In the transaction that has
-- applied the events in between: where another runner has moved them, it fails (SQLSTATE ESP01) and nothing of it stays.
CREATE OR REPLACE FUNCTION advance_projection(
  build integer, parts bigint[], known bigint[], reached bigint, applied bigint
) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
  moved bigint;
BEGIN
  UPDATE projection_checkpoints c
     SET position   = advance_projection.reached,
         applied    = c.applied + CASE WHEN c.part = parts[1] THEN advance_projection.applied ELSE 0 END,
         updated_at = clock_timestamp()
    FROM unnest(advance_projection.parts, advance_projection.known) AS k (part, position)
   WHERE c.build = advance_projection.build
     AND c.part = k.part
     AND c.position = k.position;
  GET DIAGNOSTICS moved = ROW_COUNT;
  -- While parts are ahead of it, the whole rests. Looked at while its row is held: see begin_projection_load.
  IF moved <> cardinality(parts)
     OR (-1 = ANY (parts)
         AND EXISTS (SELECT FROM projection_checkpoints c WHERE c.build = advance_projection.build AND c.part >= 0))
     -- The appends apply it by now.
     OR EXISTS (SELECT FROM projection_builds b WHERE b.build = advance_projection.build AND b.is_engaged) THEN
    RAISE EXCEPTION 'the checkpoint of build % is not where this runner left it', advance_projection.build
      USING ERRCODE = 'ESP01';
  END IF;
END
$$;
