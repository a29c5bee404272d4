-- temporary_tables: the session's temporary tables, in the order of their creation, each with the columns of its primary
-- key (or none).
SELECT c.relname::text,
       coalesce((SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY k.place)
                   FROM pg_index i
                  CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (attnum, place)
                   JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
                  WHERE i.indrelid = c.oid
                    AND i.indisprimary), '')
  FROM pg_class c
 WHERE c.relnamespace = pg_my_temp_schema()
   AND c.relkind IN ('r', 'p')
 ORDER BY c.oid;
