-- is_present: whether someone is connected who holds the advisory lock of two numbers: a table's, and `presence`.
CREATE OR REPLACE FUNCTION is_present(of_table regclass, presence integer) RETURNS boolean
LANGUAGE sql VOLATILE
SET search_path FROM CURRENT
AS $$
  SELECT EXISTS (SELECT
                   FROM pg_locks k
                  WHERE k.locktype = 'advisory'
                    AND k.objsubid = 2
                    AND k.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
                    AND k.classid = of_table
                    AND k.objid::bigint = presence::bigint & 4294967295)
$$;
