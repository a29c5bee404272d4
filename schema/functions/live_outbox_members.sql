-- live_outbox_members: the members of a group that live: their lease has not ended, nor their connection.
CREATE OR REPLACE FUNCTION live_outbox_members(of_group integer) RETURNS TABLE (member uuid)
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
  SELECT m.member
    FROM outbox_members m
   WHERE m.group_id = of_group
     AND m.expires_at > clock_timestamp()
     AND (m.presence IS NULL OR is_present('outbox_members', m.presence))
$$;
