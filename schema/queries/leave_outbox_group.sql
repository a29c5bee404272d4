-- leave_outbox_group: takes member $1 away, and gives back what it owns, at once.
WITH given AS (
  UPDATE :"schema".outbox_cursors SET member = NULL WHERE member = $1
)
DELETE FROM :"schema".outbox_members WHERE member = $1;
