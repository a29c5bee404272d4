-- outbox_members: the members of group $1.
SELECT m.member::text, m.process, m.joined_at,
       (extract(epoch FROM m.expires_at - clock_timestamp()) * 1000)::bigint AS left_milliseconds,
       m.member IN (SELECT l.member FROM :"schema".live_outbox_members($1) l) AS lives,
       coalesce((SELECT sum(bit_count(c.shards))
                   FROM :"schema".outbox_cursors c
                  WHERE c.member = m.member), 0)::integer AS shards,
       m.status::text
  FROM :"schema".outbox_members m
 WHERE m.group_id = $1
 ORDER BY m.joined_at, m.member;
