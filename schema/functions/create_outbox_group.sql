-- create_outbox_group: a consumer group that begins after a position, with one cursor for all shards. Fails with
-- unique_violation where there is one of that name.
CREATE OR REPLACE FUNCTION create_outbox_group(name text, definition text, start bigint) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
  made   integer;
  number bigint;
BEGIN
  INSERT INTO outbox_groups AS g (name, definition)
  VALUES (create_outbox_group.name, create_outbox_group.definition::jsonb)
  RETURNING g.group_id INTO made;
  INSERT INTO outbox_cursors (group_id, shards) VALUES (made, ~0::bit(256)) RETURNING cursor_id INTO number;
  INSERT INTO outbox_positions (cursor_id, position) VALUES (number, start);
  RETURN made;
END
$$;
