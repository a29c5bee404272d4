-- outbox_groups: every group, or the one named $1, with what is known of it at a glance.
SELECT g.group_id, g.name, g.definition::text, g.revision, g.paused_at, g.failure::text, g.created_at,
       (SELECT count(*) FROM :"schema".live_outbox_members(g.group_id))::integer AS members,
       (SELECT count(*) FROM :"schema".outbox_keys k WHERE k.group_id = g.group_id)::bigint AS keys_behind,
       (SELECT count(*) FROM :"schema".outbox_keys k WHERE k.group_id = g.group_id AND k.due_at = 'infinity')::bigint
         AS keys_held,
       (SELECT count(*) FROM :"schema".outbox_deferred d WHERE d.group_id = g.group_id)::bigint AS deferred,
       (SELECT count(*) FROM :"schema".outbox_parked p WHERE p.group_id = g.group_id)::bigint AS parked,
       (SELECT coalesce(sum(p.handled), 0)::bigint
          FROM :"schema".outbox_cursors c
          JOIN :"schema".outbox_positions p ON p.cursor_id = c.cursor_id
         WHERE c.group_id = g.group_id) AS handled,
       (SELECT coalesce(min(p.position), 0)
          FROM :"schema".outbox_cursors c
          JOIN :"schema".outbox_positions p ON p.cursor_id = c.cursor_id
         WHERE c.group_id = g.group_id) AS position
  FROM :"schema".outbox_groups g
 WHERE $1::text IS NULL
    OR g.name = $1
 ORDER BY g.name;
