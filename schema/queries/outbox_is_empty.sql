-- outbox_is_empty: whether group $1 has handled everything up to position $2, but for what waits for a person.
SELECT NOT EXISTS (SELECT
                     FROM :"schema".outbox_cursors c
                     JOIN :"schema".outbox_positions p ON p.cursor_id = c.cursor_id
                    WHERE c.group_id = g.group_id
                      AND (p.position < $2 OR p.open IS NOT NULL))
       AND NOT EXISTS (SELECT FROM :"schema".outbox_keys k WHERE k.group_id = g.group_id AND k.due_at < 'infinity')
       AND NOT EXISTS (SELECT FROM :"schema".outbox_deferred d WHERE d.group_id = g.group_id)
  FROM :"schema".outbox_groups g
 WHERE g.name = $1;
