-- delete_snapshots: of one stream, or of a category, or all (both null); of one state type, or all (null). Returns how
-- many there were.
CREATE OR REPLACE FUNCTION delete_snapshots(stream text, category text, state_type text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
  deleted bigint;
BEGIN
  DELETE FROM snapshots s
   USING streams n
   WHERE n.stream_id = s.stream_id
     AND (delete_snapshots.stream IS NULL OR n.name = delete_snapshots.stream)
     AND (delete_snapshots.category IS NULL OR split_part(n.name, '-', 1) = delete_snapshots.category)
     AND (delete_snapshots.state_type IS NULL OR s.state_type = delete_snapshots.state_type);
  GET DIAGNOSTICS deleted = ROW_COUNT;
  RETURN deleted;
END
$$;
