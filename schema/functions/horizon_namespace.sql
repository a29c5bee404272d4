-- horizon_namespace: the upper 16 bits of this store's advisory lock keys, from the identity of its events table.
-- Two stores of one database that happen to share a namespace can stall each other's readers, never make them skip.
CREATE OR REPLACE FUNCTION horizon_namespace() RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
  SELECT 'events'::regclass::oid::bigint & 32767
$$;
