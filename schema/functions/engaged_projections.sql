-- engaged_projections: the builds that this transaction's appends must be applied to. Called before the append: from here
-- on until the transaction ends, none is engaged or let go. Fails (SQLSTATE ESP04) in a transaction that has one snapshot
-- from its beginning to its end.
CREATE OR REPLACE FUNCTION engaged_projections(
  OUT build integer, OUT name text, OUT version integer, OUT kind text, OUT file text, OUT source text
) RETURNS SETOF record
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
  -- What is engaged is looked at after the lock was granted, in a snapshot that is taken then. One from before could show
  -- a build that was let go meanwhile, and lack one that was engaged.
  IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
    RAISE EXCEPTION 'inline projections are applied in READ COMMITTED transactions, this one is %',
                    upper(current_setting('transaction_isolation'))
      USING ERRCODE = 'ESP04';
  END IF;
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
