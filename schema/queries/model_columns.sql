-- model_columns: the tables of schemas $1 and $2 side by side: a column a row, with its type in each (null: it is not
-- there; with its collation, where that is not the type's own), the place it has in the primary key of both (null: in none,
-- or not the same), and whether its values can be compared as they are: whether the type has an equality, and one that
-- takes nothing for the same that a reader can tell apart. Numbers are the same whatever zeros stand behind the point.
WITH columns AS (
  SELECT n.nspname::text AS schema, c.relname::text AS "table", a.attname::text AS name, a.attnum AS place,
         format_type(a.atttypid, a.atttypmod)
           || CASE WHEN a.attcollation <> t.typcollation THEN ' COLLATE ' || quote_ident(o.collname) ELSE '' END AS type,
         array_position(i.indkey::smallint[], a.attnum) AS key,
         coalesce(o.collisdeterministic, true)
           -- 'A' = 'a', '1 mon' = '30 days', 1.0 = 1.
           AND e.typname NOT IN ('citext', 'interval', 'jsonb')
           AND (e.typtype = 'e'
                OR e.oid = 'varchar'::regtype
                OR EXISTS (SELECT FROM pg_opclass p JOIN pg_am m ON m.oid = p.opcmethod
                            WHERE p.opcdefault
                              AND m.amname IN ('btree', 'hash')
                              AND p.opcintype = e.oid)) AS is_comparable
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type t ON t.oid = a.atttypid
    -- What a domain is made of, and an array.
    JOIN pg_type d ON d.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
    JOIN pg_type e ON e.oid = CASE WHEN d.typcategory = 'A' AND d.typelem <> 0 THEN d.typelem ELSE d.oid END
    LEFT JOIN pg_collation o ON o.oid = a.attcollation
    LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
   WHERE n.nspname IN ($1, $2)
     AND c.relkind = 'r'
)
SELECT coalesce(l."table", r."table"), coalesce(l.name, r.name), l.type, r.type, l.key, r.key,
       coalesce(l.type = r.type AND l.is_comparable, false)
  FROM (SELECT * FROM columns WHERE schema = $1) l
  FULL JOIN (SELECT * FROM columns WHERE schema = $2) r ON r."table" = l."table" AND r.name = l.name
 ORDER BY 1, coalesce(r.place, l.place), coalesce(l.place, r.place);
