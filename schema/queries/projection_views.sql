-- projection_views: the columns that readers see, and those that they will: of the views of projection $2 in schema $1,
-- and of the tables in schema $3. A relation a row: its name, whether it is there as a view, as a table, whether the view
-- can be replaced as it is (the table has its columns, in their order, and perhaps more), what else is built on the view,
-- and, for one that is made anew, the grants that give back what others may do with it (of columns, as far as the table has
-- them) and its options.
WITH relations AS (
  SELECT c.oid, c.relname::text AS name, c.relkind, c.relacl, c.relowner, c.reloptions,
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
       ARRAY (SELECT format('GRANT %s%s ON %I.%I TO %s%s', x.privilege_type, x.columns, $1, v.name,
                            CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END,
                            CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
                FROM (SELECT r.privilege_type, '' AS columns, r.grantee, r.is_grantable
                        FROM aclexplode(v.relacl) r
                       UNION ALL
                      SELECT r.privilege_type, format(' (%I)', a.attname), r.grantee, r.is_grantable
                        FROM pg_attribute a
                        JOIN pg_attribute b ON b.attrelid = t.oid AND b.attname = a.attname AND NOT b.attisdropped
                       CROSS JOIN aclexplode(a.attacl) r
                       WHERE a.attrelid = v.oid
                         AND a.attnum > 0) x
               WHERE x.grantee <> v.relowner),
       coalesce(v.reloptions, '{}')
  FROM (SELECT * FROM relations WHERE relkind = 'v') v
  FULL JOIN (SELECT * FROM relations WHERE relkind = 'r') t ON t.name = v.name
 ORDER BY 1;
