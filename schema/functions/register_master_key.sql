-- register_master_key: writes down the first master key of a store. Returns whether the store has this key now; a
-- further one is let in by a rotation only.
CREATE OR REPLACE FUNCTION register_master_key(id text, proof_of_it bytea) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
  -- Two processes with a key each: the second waits here and then finds the first one's.
  PERFORM pg_advisory_xact_lock(('events'::regclass::oid::bigint & 32767) << 48 | 281474976710655);
  INSERT INTO master_keys (master_key_id, proof)
  SELECT id, proof_of_it
   WHERE NOT EXISTS (SELECT FROM master_keys);
  RETURN EXISTS (SELECT FROM master_keys m WHERE m.master_key_id = id AND m.proof = proof_of_it);
END
$$;
