-- require_inline: refuses an append that does not apply the inline projections. A trigger of events, as long as there is
-- one of them: see engage_projection.
CREATE OR REPLACE FUNCTION require_inline() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
  IF current_setting('eventstore.inline', true) IS DISTINCT FROM 'applied' THEN
    RAISE EXCEPTION 'the store has an inline projection, which this append does not apply'
      USING ERRCODE = 'ESP03';
  END IF;
  RETURN NULL;
END
$$;
