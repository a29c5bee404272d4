-- fence_outbox_group: raises the epochs of all cursors of group $1. What was under way is waited for and seen by the next statement;
-- what comes later under an old epoch is not accepted.
WITH raised AS (
  UPDATE :"schema".outbox_cursors SET epoch = epoch + 1 WHERE group_id = $1 RETURNING cursor_id, epoch
)
UPDATE :"schema".outbox_positions p
   SET epoch = r.epoch
  FROM raised r
 WHERE p.cursor_id = r.cursor_id;
