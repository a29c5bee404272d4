-- model_columns: the tables of schemas $1 and $2 side by side: a column a row, with its type in each (null: it is not
-- there), the place it has in the primary key of both (null: in none, or not the same), and whether its values can be
-- compared as they are.
WITH columns AS (
  SELECT n.nspname::text AS schema, c.relname::text AS "table", a.attname::text AS name, a.attnum AS place,
         format_type(a.atttypid, a.atttypmod) AS type,
         array_position(i.indkey::smallint[], a.attnum) AS key,
         EXISTS (SELECT FROM pg_opclass o JOIN pg_am m ON m.oid = o.opcmethod
                  WHERE o.opcdefault
                    AND m.amname IN ('btree', 'hash')
                    AND (o.opcintype = a.atttypid OR o.opcintype = t.typbasetype
                         OR (t.typtype = 'e' AND o.opcintype = 'anyenum'::regtype)
                         OR (t.typcategory = 'A' AND o.opcintype = 'anyarray'::regtype)
                         OR a.atttypid IN ('varchar'::regtype, 'jsonb'::regtype))) AS is_comparable
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
   WHERE n.nspname IN ($1, $2)
     AND c.relkind = 'r'
)
SELECT coalesce(l."table", r."table"), coalesce(l.name, r.name), l.type, r.type, l.key, r.key,
       coalesce(l.type = r.type AND l.is_comparable, false)
  FROM (SELECT * FROM columns WHERE schema = $1) l
  FULL JOIN (SELECT * FROM columns WHERE schema = $2) r ON r."table" = l."table" AND r.name = l.name
 ORDER BY 1, coalesce(r.place, l.place), coalesce(l.place, r.place);
