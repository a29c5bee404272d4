-- projection_views: the columns that readers see, and those that they will: of the views of projection $2 in schema $1,
-- and of the tables in schema $3. A relation a row: its name, whether it is there as a view, as a table, whether the view
-- can be replaced as it is (the table has its columns, in their order, and perhaps more), what else is built on the view,
-- and the roles that may read it.
WITH relations AS (
  SELECT c.oid, c.relname::text AS name, c.relkind, c.relacl,
         ARRAY (SELECT a.attname::text || ' ' || format_type(a.atttypid, a.atttypmod) || ' ' || a.attcollation::text
                  FROM pg_attribute a
                 WHERE a.attrelid = c.oid
                   AND a.attnum > 0
                   AND NOT a.attisdropped
                 ORDER BY a.attnum) AS columns
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE (n.nspname = $1 AND c.relkind = 'v' AND obj_description(c.oid, 'pg_class') = 'projection ' || $2)
      OR (n.nspname = $3 AND c.relkind = 'r')
)
SELECT coalesce(v.name, t.name), v.oid IS NOT NULL, t.oid IS NOT NULL,
       coalesce(v.columns = t.columns[1:cardinality(v.columns)], false),
       ARRAY (SELECT DISTINCT d.objid::regclass::text
                FROM (SELECT r.ev_class AS objid
                        FROM pg_depend p
                        JOIN pg_rewrite r ON r.oid = p.objid
                       WHERE p.classid = 'pg_rewrite'::regclass
                         AND p.refclassid = 'pg_class'::regclass
                         AND p.refobjid = v.oid
                         AND r.ev_class <> v.oid) d),
       ARRAY (SELECT CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END
                FROM aclexplode(v.relacl) x
               WHERE x.privilege_type = 'SELECT')
  FROM (SELECT * FROM relations WHERE relkind = 'v') v
  FULL JOIN (SELECT * FROM relations WHERE relkind = 'r') t ON t.name = v.name
 ORDER BY 1;
