-- stream_ids: the ids of the named streams, creating those that are new. Names in ascending order of their bytes, whatever
-- the database's collation, so that two callers wait for each other in one order only: this is append_placed's, too.
CREATE OR REPLACE FUNCTION stream_ids(names text[]) RETURNS TABLE (name text, stream_id bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
  new_categories text[];
  drawn bigint;
BEGIN
  FOR attempt IN 1 .. 100 LOOP
    new_categories := ARRAY (
      SELECT DISTINCT split_part(n.name, '-', 1) COLLATE "C"
        FROM unnest(names) AS n (name)
       WHERE NOT EXISTS (SELECT FROM categories c WHERE c.name = split_part(n.name, '-', 1))
       ORDER BY 1);
    EXIT WHEN cardinality(new_categories) = 0;
    drawn := (SELECT last_value FROM categories_category_id_seq);
    IF attempt = 1 AND drawn + cardinality(new_categories) < 32000 THEN
      INSERT INTO categories (name)
      SELECT n.name FROM unnest(new_categories) WITH ORDINALITY AS n (name, ord) ORDER BY n.ord
          ON CONFLICT DO NOTHING;
    ELSE
      -- Transactions that were rolled back have used the numbers up. Those stand in no stream's id: they can be given again,
      -- to one category at a time. Whoever has one that is not committed yet is waited for by the index.
      PERFORM pg_advisory_xact_lock('categories'::regclass::oid::bigint);
      INSERT INTO categories (category_id, name) OVERRIDING SYSTEM VALUE
      SELECT f.category_id, n.name
        FROM (SELECT u.name, row_number() OVER (ORDER BY u.ord) AS place
                FROM unnest(new_categories) WITH ORDINALITY AS u (name, ord)) AS n
        JOIN (SELECT s.category_id, row_number() OVER (ORDER BY s.category_id) AS place
                FROM generate_series(1, 32767) AS s (category_id)
               WHERE NOT EXISTS (SELECT FROM categories c WHERE c.category_id = s.category_id)) AS f USING (place)
       ORDER BY n.place
          ON CONFLICT DO NOTHING;
      IF NOT FOUND AND (SELECT count(*) FROM categories) >= 32767 THEN
        RAISE EXCEPTION 'there is no number left for a category' USING ERRCODE = 'sequence_generator_limit_exceeded';
      END IF;
    END IF;
  END LOOP;
  IF cardinality(new_categories) > 0 THEN
    RAISE EXCEPTION 'categories met those of others 100 times in a row' USING ERRCODE = 'serialization_failure';
  END IF;

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
