-- create_projection_build: writes down a build that begins before the first event. Its creator may hold its lease from
-- the start. Fails with unique_violation where the projection has a build in this role.
CREATE OR REPLACE FUNCTION create_projection_build(
  name text, version integer, role text, kind text, source text, file text, categories text[], types text[],
  is_inline boolean, goes_live boolean, side_effects boolean
) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
  made integer;
BEGIN
  INSERT INTO projection_builds AS b (name, version, role, kind, source, file, categories, types, is_inline, goes_live,
                                      side_effects)
  VALUES (create_projection_build.name, create_projection_build.version, create_projection_build.role,
          create_projection_build.kind, create_projection_build.source, create_projection_build.file,
          create_projection_build.categories, create_projection_build.types, create_projection_build.is_inline,
          create_projection_build.goes_live, create_projection_build.side_effects)
  RETURNING b.build INTO made;
  INSERT INTO projection_checkpoints (build, part, position) VALUES (made, -1, 0);
  INSERT INTO projection_leases (build) VALUES (made);
  RETURN made;
END
$$;
