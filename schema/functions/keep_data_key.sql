-- keep_data_key: writes down a data key that no append brings along, unless there is one with its id.
CREATE OR REPLACE FUNCTION keep_data_key(id uuid, of_subject text, wrapping_key text, wrapped bytea) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
  INSERT INTO data_keys (key_id, subject, master_key_id, wrapped_key)
  VALUES (id, of_subject, wrapping_key, wrapped)
      ON CONFLICT DO NOTHING;
END
$$;
