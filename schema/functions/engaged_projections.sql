-- engaged_projections: the builds that this transaction's appends must be applied to. Called before the append: from here
-- on until the transaction ends, none is engaged or let go.
CREATE OR REPLACE FUNCTION engaged_projections(
  OUT build integer, OUT name text, OUT version integer, OUT kind text, OUT file text, OUT source text
) RETURNS SETOF record
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
  -- The lock that an insert takes as well; engaging takes one that excludes it.
  LOCK TABLE events IN ROW EXCLUSIVE MODE;
  PERFORM set_config('eventstore.inline', 'applied', true);
  RETURN QUERY
  SELECT b.build, b.name, b.version, b.kind, b.file, b.source
    FROM projection_builds b
   WHERE b.is_engaged
   ORDER BY b.build;
END
$$;
