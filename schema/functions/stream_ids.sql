-- stream_ids: the ids of the named streams, creating those that are new. Names in ascending order of their bytes, whatever
-- the database's collation, so that two callers wait for each other in one order only: this is append_placed's, too.
CREATE OR REPLACE FUNCTION stream_ids(names text[]) RETURNS TABLE (name text, stream_id bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
BEGIN
  INSERT INTO categories (name)
  SELECT DISTINCT split_part(n.name, '-', 1) COLLATE "C"
    FROM unnest(names) AS n (name)
   WHERE NOT EXISTS (SELECT FROM categories c WHERE c.name = split_part(n.name, '-', 1))
   ORDER BY 1
      ON CONFLICT DO NOTHING;

  INSERT INTO streams (stream_id, name)
  SELECT (c.category_id::bigint << 48)
         | (nextval('stream_numbers') << 8)
         | get_byte(sha256(convert_to(n.name, 'UTF8')), 0),
         n.name
    FROM (SELECT DISTINCT u.name COLLATE "C" AS name FROM unnest(names) AS u (name) ORDER BY 1) AS n
    JOIN categories c ON c.name = split_part(n.name, '-', 1)
   WHERE NOT EXISTS (SELECT FROM streams s WHERE s.name = n.name)
   ORDER BY n.name
      ON CONFLICT DO NOTHING;

  RETURN QUERY SELECT s.name, s.stream_id FROM streams s WHERE s.name = ANY (names);
END
$$;
