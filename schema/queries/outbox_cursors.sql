-- outbox_cursors: the cursors of member $1, and where they are.
SELECT c.cursor_id, c.epoch, c.shards, p.position, p.open, p.floors, p.ctid::text
  FROM :"schema".outbox_cursors c
  JOIN :"schema".outbox_positions p ON p.cursor_id = c.cursor_id AND p.epoch = c.epoch
 WHERE c.member = $1
 ORDER BY c.cursor_id;
