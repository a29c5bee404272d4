-- require_inline: refuses an append that does not apply the inline projections. A trigger of events, as long as there is
-- one of them: see engage_projection. Every name is qualified: it runs as the store's owner, with the writer's search_path.
CREATE OR REPLACE FUNCTION require_inline() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
  IF (pg_catalog.current_setting('eventstore.inline', true) OPERATOR(pg_catalog.=) 'applied') IS NOT TRUE THEN
    RAISE EXCEPTION 'the store has an inline projection, which this append does not apply'
      USING ERRCODE = 'ESP03';
  END IF;
  RETURN NULL;
END
$$;
