-- projection_name_clash: which of the names $3 stand in schema $1 for something else than a view of projection $2.
SELECT c.relname::text, coalesce(obj_description(c.oid, 'pg_class'), 'something that is not ours')
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = $1
   AND c.relname = ANY ($3)
   AND obj_description(c.oid, 'pg_class') IS DISTINCT FROM 'projection ' || $2
 LIMIT 1;
